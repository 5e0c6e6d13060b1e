"""What comes in a night, and what came of it?

An observatory takes its images in visits, each of many images within a minute (a camera of many
detectors, several telescopes); now and then there are clouds; and by day there is nothing. Replicas
are paid for all day.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field
from statistics import mean, quantiles
from typing import Protocol

from benchmarks.scale.rules import Decision

#: Images of a visit, and seconds within which they come.
VISIT, WITHIN = 40, 60.0
#: Part of the night in which there are clouds.
CLOUDS = (0.4, 0.65)
#: Seconds of a day.
DAY = 24 * 3600.0
#: Of what a stage takes: spread of its logarithm.
_SPREAD = 0.5


@dataclass(frozen=True)
class Image:
    """When an image comes, and how long its stage takes, in seconds."""

    arrives: float
    takes: float


def night(images: int, hours: float, seconds: float, seed: int = 1) -> list[Image]:
    """The images of a night of so many hours; ``seconds``: the median of what their stage takes."""
    dice = random.Random(seed)
    length = 3600 * hours
    begin, end = (length * part for part in CLOUDS)
    visits = []
    for _ in range(max(1, images // VISIT)):
        clear = dice.uniform(0, length - (end - begin))
        visits.append(clear if clear < begin else clear + end - begin)
    arrivals = sorted(
        visits[number % len(visits)] + dice.uniform(0, WITHIN) for number in range(images)
    )
    return [Image(when, dice.lognormvariate(math.log(seconds), _SPREAD)) for when in arrivals]


@dataclass
class Result:
    """What came of a night; times in simulated seconds.

    ``replica_seconds`` are those of the whole day, ``until_done`` those until the last image is
    done: what is paid for by who has nothing run by day.
    """

    replica_seconds: float = 0.0
    until_done: float = 0.0
    most: int = 0
    starts: int = 0
    stopped_at_work: int = 0
    waits: list[float] = field(default_factory=list)
    lost: int = 0
    repeated: int = 0

    @property
    def wait(self) -> float:
        """Mean minutes from arrival to beginning."""
        return mean(self.waits) / 60

    @property
    def slowest(self) -> float:
        """Minutes that one image in twenty waits longer than."""
        return quantiles(self.waits, n=20)[-1] / 60


class Replicas(Protocol):
    """A queue and replicas, in real time or on paper."""

    #: Seconds since the beginning of the night.
    now: float
    #: Those that are to stay, and those that have been told to go and have not gone.
    present: int
    leaving: int

    def order(self, image: Image) -> None:
        """Put an image's command into the queue."""

    def open(self) -> int:
        """Commands that wait or are in hand."""

    def start(self) -> None:
        """Have one more replica."""

    def stop_any(self) -> None:
        """Tell one replica to go, without asking whether it works: Kubernetes does not, either."""

    def sleep(self) -> None:
        """Let a little time pass."""

    def account(self, result: Result) -> None:
        """Say how long images waited, and what was lost."""


def pass_night(images: list[Image], replicas: Replicas, decide: Decision, poll: float) -> Result:
    """Let a day pass, from dusk to dusk.

    When all images are done, and nothing has changed for longer than the rules have patience, the
    rest of the day is reckoned with the replicas that are left.
    """
    result, coming = Result(), deque(images)
    last, due, moved = replicas.now, 0.0, 0.0
    while replicas.leaving or replicas.now < moved + _STILL:
        now = replicas.now
        result.replica_seconds += (now - last) * (replicas.present + replicas.leaving)
        last = now
        if coming or replicas.open():
            moved, result.until_done = now, result.replica_seconds
        while coming and coming[0].arrives <= now:
            replicas.order(coming.popleft())
        if now >= due:
            due = now + poll
            wanted = decide(now, replicas.open(), replicas.present)
            if wanted != replicas.present:
                moved = now
            _resize(replicas, wanted, result)
        replicas.sleep()
    result.replica_seconds += max(0.0, DAY - last) * replicas.present
    replicas.account(result)
    return result


#: Seconds without a change after which nothing will change any more; longer than any patience.
_STILL = 1200.0


def _resize(replicas: Replicas, wanted: int, result: Result) -> None:
    while replicas.present < wanted:
        replicas.start()
        result.starts += 1
    while replicas.present > wanted:
        replicas.stop_any()
    result.most = max(result.most, replicas.present)
