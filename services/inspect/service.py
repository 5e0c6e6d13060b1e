"""Which commands does this service take?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stage
from skyrelay.stage.runner import StageRunner
from skyrelay.stages import INSPECT


class InspectService:
    """Replicas of this service do the stage ``inspect``."""

    name = "inspect"
    runner = StageRunner()

    @run_stage(INSPECT)
    def inspect(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
