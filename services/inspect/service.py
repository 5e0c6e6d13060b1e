"""Which commands does this service take?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stage
from skyrelay.stage.runner import StageRunner
from skyrelay.stages import (
    CLEANUP,
    CROP,
    DESTRIPE,
    FIX,
    INSPECT,
    REMOVE_BACKGROUND,
    REMOVE_FRINGES,
    RESET,
)


class InspectService:
    """Replicas of this service do the stage ``inspect``, and what changes the image before it."""

    name = "inspect"
    runner = StageRunner()

    @run_stage(INSPECT)
    @run_stage(FIX)
    @run_stage(CROP)
    @run_stage(DESTRIPE)
    @run_stage(REMOVE_FRINGES)
    @run_stage(REMOVE_BACKGROUND)
    @run_stage(RESET)
    @run_stage(CLEANUP)
    def inspect(self, command: RunStage) -> None:
        """Bring one attempt of one of these stages to its end."""
        self.runner.run(command)
