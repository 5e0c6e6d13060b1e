"""Which commands does this service take?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stage
from skyrelay.stage.runner import StageRunner
from skyrelay.stages import SUBTRACTION


class SubtractionService:
    """Replicas of this service do the stage ``subtraction``."""

    name = "subtraction"
    runner = StageRunner()

    @run_stage(SUBTRACTION)
    def subtraction(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
