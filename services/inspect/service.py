"""Which service is this, and who does its work?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stages
from skyrelay.stage.runner import StageRunner


class InspectService:
    """Replicas of this service do the stage ``inspect``, and what changes the image before it."""

    name = "inspect"
    runner = StageRunner()

    @run_stages
    def run(self, command: RunStage) -> None:
        """Bring one attempt of one of these stages to its end."""
        self.runner.run(command)
