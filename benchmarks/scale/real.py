"""How does a night pass with a real queue and real replicas, one process for a pod?"""

from __future__ import annotations

import random
import time

from benchmarks.scale.night import Image, Result
from skyrelay.messages import Outcome, RunStage, StageFinished
from tests.support.station import Replica, Station

#: Seconds between looks at what has to be done next.
_LOOK = 0.1
#: Longer than any stage: a replica that goes finishes what it has in hand.
_DRAIN_GRACE = 15000


class RealReplicas:
    """Replicas of the trial service, which only waits; ``speed``: simulated seconds in a second."""

    def __init__(self, place: Station, speed: float) -> None:
        self._place = place
        self._speed = speed
        self._commands: list[tuple[RunStage, Image]] = []
        self._staying: list[Replica] = []
        self._going: list[Replica] = []
        self._dice = random.Random(1)
        # Makes the queue, as the gateway does those of its own.
        first = place.ready_replica()
        first.terminate()
        first.wait()
        self._began = time.monotonic()

    @property
    def now(self) -> float:
        return (time.monotonic() - self._began) * self._speed

    @property
    def present(self) -> int:
        return len(self._staying)

    @property
    def leaving(self) -> int:
        self._going = [replica for replica in self._going if replica.running]
        return len(self._going)

    def order(self, image: Image) -> None:
        command = self._place.order(seconds=image.takes / self._speed)
        self._commands.append((command, image))

    def open(self) -> int:
        finished = {news.run for news in self._place.news if isinstance(news, StageFinished)}
        return len(self._commands) - len(finished)

    def start(self) -> None:
        self._staying.append(self._place.replica(drain_grace=_DRAIN_GRACE))

    def stop_any(self) -> None:
        leaves = self._staying.pop(self._dice.randrange(len(self._staying)))
        leaves.terminate()
        self._going.append(leaves)

    def sleep(self) -> None:
        time.sleep(_LOOK)

    def account(self, result: Result) -> None:
        for command, _ in self._commands:
            ends = self._place.of(command, StageFinished)
            result.lost += not any(end.outcome is Outcome.DONE for end in ends)
            result.repeated += self._place.begun(command) > 1
            if ends:
                wait = (ends[0].started - command.sent).total_seconds()
                result.waits.append(wait * self._speed)
        result.stopped_at_work = sum(
            "in_hand=1" in replica.log.read_text() for replica in self._place.replicas
        )
