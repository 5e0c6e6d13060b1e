"""The service of the first leg."""

from __future__ import annotations

from benchmarks.orchestration.relay.stages import FIRST
from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stages
from skyrelay.stage.runner import StageRunner


class FirstLeg:
    """Replicas of this service do the stage ``relay_first``."""

    name = FIRST.service
    runner = StageRunner()

    @run_stages
    def run(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
