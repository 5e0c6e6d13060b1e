"""Which commands does this service take?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stage
from skyrelay.stage.runner import StageRunner
from tests.trial_service.stages import TRIAL


class TrialService:
    """Replicas of this service do the stage ``trial``."""

    name = "trial"
    runner = StageRunner()

    @run_stage(TRIAL)
    def trial(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
