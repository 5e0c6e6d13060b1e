"""The service of the second leg."""

from __future__ import annotations

from benchmarks.orchestration.relay.stages import SECOND
from skyrelay.messages import RunStage
from skyrelay.stage.consumer import run_stages
from skyrelay.stage.runner import StageRunner


class SecondLeg:
    """Replicas of this service do the stage ``relay_second``."""

    name = SECOND.service
    runner = StageRunner()

    @run_stages
    def run(self, command: RunStage) -> None:
        """Bring one attempt of the stage to its end."""
        self.runner.run(command)
