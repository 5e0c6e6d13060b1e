"""Which service is this, and who does its work?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stages
from skyrelay.stage.runner import StageRunner


class StackingService:
    """Replicas of this service do the stage ``stack``."""

    name = "stacking"
    runner = StageRunner()

    @run_stages
    def run(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
