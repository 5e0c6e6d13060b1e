"""Which service is this, and who does its work?"""

from __future__ import annotations

from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stages
from skyrelay.stage.runner import StageRunner


class TrialService:
    """Replicas of this service do the stages ``trial`` and ``divided``."""

    name = "trial"
    runner = StageRunner()

    @run_stages
    def run(self, command: RunStage) -> None:
        """Bring one attempt of a stage, or of a part of one, to its end."""
        self.runner.run(command)
