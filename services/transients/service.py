"""Which commands does this service take?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stage
from skyrelay.stage.runner import StageRunner
from skyrelay.stages import SIMPLE_TRANSIENTS


class TransientsService:
    """Replicas of this service do the stage ``simple_transients``."""

    name = "transients"
    runner = StageRunner()

    @run_stage(SIMPLE_TRANSIENTS)
    def simple_transients(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
