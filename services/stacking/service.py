"""Which commands does this service take?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stage
from skyrelay.stage.runner import StageRunner
from skyrelay.stages import STACK


class StackingService:
    """Replicas of this service do the stage ``stack``."""

    name = "stacking"
    runner = StageRunner()

    @run_stage(STACK)
    def stack(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
