"""`make sim-scale`: what does scaling by the length of a queue cost, and is work ever lost?

The rules are read from the manifest of the autoscaler and followed by hand, with real replicas on a
real queue: one process for a pod, SIGTERM for a scale-in, whoever it hits. Images arrive in bursts.
The same night is then done by a fixed number of replicas. Time is compressed; a stage only waits.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.orchestration.__main__ import say
from skyrelay.messages import Outcome, RunStage, StageFinished
from skyrelay.stack.broker_node import BrokerNode
from tests.support.station import Replica, Station, station

SCALING = Path(__file__).parents[1] / "deploy/kubernetes/components/autoscaling/scaling.yaml"

#: Seconds between looks at what has to be done next.
_LOOK = 0.1
#: Images that come together, within a minute.
BURST = 40


@dataclass(frozen=True)
class Rules:
    """A ScaledObject with the behaviour of its autoscaler, in simulated seconds."""

    least: int
    most: int
    poll: float
    patience: float
    up: list[dict[str, Any]]
    down: list[dict[str, Any]]

    @classmethod
    def of(cls, service: str) -> Rules:
        """Those of the manifest."""
        for manifest in yaml.safe_load_all(SCALING.read_text()):
            if (manifest["kind"], manifest["metadata"]["name"]) == ("ScaledObject", service):
                spec = manifest["spec"]
                behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
                return cls(
                    least=spec["minReplicaCount"],
                    most=spec["maxReplicaCount"],
                    poll=spec["pollingInterval"],
                    patience=behaviour["scaleDown"]["stabilizationWindowSeconds"],
                    up=behaviour["scaleUp"]["policies"],
                    down=behaviour["scaleDown"]["policies"],
                )
        raise click.BadParameter(f"there is no ScaledObject {service}")


class Autoscaler:
    """Says how many replicas there should be."""

    def __init__(self, rules: Rules, most: int) -> None:
        self._rules = rules
        self._most = min(rules.most, most)
        self._wanted: deque[tuple[float, int]] = deque()
        self._before: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, length: int, present: int) -> int:
        """The number for a queue of this length, of what waits and what is in hand."""
        rules = self._rules
        wanted = min(max(length, rules.least), self._most)
        self._wanted.append((now, wanted))
        self._before.append((now, present))
        while self._wanted[0][0] < now - rules.patience:
            self._wanted.popleft()
        if wanted > present:
            return min(wanted, max(self._limit(now, policy, 1) for policy in rules.up))
        calm = max(count for _, count in self._wanted)
        if calm < present:
            return max(calm, min(self._limit(now, policy, -1) for policy in rules.down))
        return present

    def _limit(self, now: float, policy: dict[str, Any], sign: int) -> int:
        """How far a policy lets the number go, from where it was at the beginning of its period."""
        since = [count for when, count in self._before if when >= now - policy["periodSeconds"]]
        if policy["type"] == "Pods":
            return since[0] + sign * int(policy["value"])
        return math.ceil(since[0] * (1 + sign * policy["value"] / 100))


@dataclass
class Result:
    """What came of a night; times in simulated seconds."""

    replica_seconds: float = 0.0
    most: int = 0
    stopped_at_work: int = 0
    waits: list[float] = field(default_factory=list)
    lost: int = 0
    repeated: int = 0


class Night:
    """One night of images on a queue and on replicas whose number somebody decides."""

    def __init__(
        self, place: Station, *, images: int, hours: float, seconds: float, speed: float
    ) -> None:
        self._place = place
        self._speed = speed
        self._seconds = seconds
        dice = random.Random(1)
        bursts = sorted(dice.uniform(0, 3600 * hours) for _ in range(max(1, images // BURST)))
        arrivals = (dice.choice(bursts) + dice.uniform(0, 60) for _ in range(images))
        self._arrivals = deque(sorted(arrivals))
        self._commands: list[RunStage] = []
        self._replicas: list[Replica] = []
        self._leaving: list[Replica] = []
        self._dice = dice

    def run(self, decide: Callable[[float, int, int], int], poll: float) -> Result:
        """Let the night pass; returns when every image is done and every replica of no use gone."""
        result, began, last, due = Result(), time.monotonic(), 0.0, 0.0
        while self._arrivals or self._open():
            now = (time.monotonic() - began) * self._speed
            while self._arrivals and self._arrivals[0] <= now:
                self._arrivals.popleft()
                seconds = self._dice.lognormvariate(math.log(self._seconds), 0.5) / self._speed
                self._commands.append(self._place.order(seconds=seconds))
            if now >= due:
                due = now + poll
                self._resize(decide(now, self._open(), len(self._replicas)), result)
            self._leaving = [each for each in self._leaving if each.running]
            result.replica_seconds += (now - last) * (len(self._replicas) + len(self._leaving))
            last = now
            time.sleep(_LOOK)
        self._account(result)
        return result

    def _open(self) -> int:
        finished = {news.run for news in self._place.news if isinstance(news, StageFinished)}
        return len(self._commands) - len(finished)

    def _resize(self, wanted: int, result: Result) -> None:
        while len(self._replicas) < wanted:
            self._replicas.append(self._place.replica(drain_grace=15000))
        while len(self._replicas) > wanted:
            # Kubernetes does not ask whether it works, either.
            leaves = self._replicas.pop(self._dice.randrange(len(self._replicas)))
            leaves.terminate()
            self._leaving.append(leaves)
        result.most = max(result.most, len(self._replicas))

    def _account(self, result: Result) -> None:
        for command in self._commands:
            ends = self._place.of(command, StageFinished)
            result.lost += not any(end.outcome is Outcome.DONE for end in ends)
            result.repeated += self._place.begun(command) > 1
            if ends:
                wait = (ends[0].started - command.sent).total_seconds()
                result.waits.append(wait * self._speed)
        for replica in self._leaving:
            replica.wait()
        result.stopped_at_work = sum(
            "in_hand=1" in replica.log.read_text() for replica in self._place.replicas
        )


@click.command()
@click.option("--images", default=2000, show_default=True, help="Images of the night.")
@click.option("--service", default="photometry", show_default=True, help="Whose rules.")
@click.option("--hours", default=8.0, show_default=True, help="Length of the night.")
@click.option("--seconds", default=60.0, show_default=True, help="Median of what a stage takes.")
@click.option("--speed", default=30.0, show_default=True, help="Simulated seconds in a second.")
@click.option("--most", default=12, show_default=True, help="Processes that the machine bears.")
def simulate(
    images: int, service: str, hours: float, seconds: float, speed: float, most: int
) -> None:
    """Let a night of images pass twice: with replicas by need, and with as many as that cost."""
    rules = Rules.of(service)
    found: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(prefix="skyrelay-scale-") as scratch:
        with BrokerNode(Path(scratch) / "broker") as node:

            def night(name: str, decide: Callable[[float, int, int], int]) -> Result:
                say(f"A night of {images} images: {name}.")
                folder = Path(scratch) / name.replace(" ", "-")
                folder.mkdir()
                with station(folder, node.add_vhost(folder.name)) as place:
                    # Makes the queue of the trial service, as the gateway does those of its own.
                    first = place.ready_replica()
                    first.terminate()
                    first.wait()
                    passed = Night(place, images=images, hours=hours, seconds=seconds, speed=speed)
                    found[name] = passed.run(decide, rules.poll)
                return found[name]

            scaled = night("by need", Autoscaler(rules, most))
            fixed = max(1, round(scaled.replica_seconds / 3600 / hours))
            night(f"{fixed} replicas", lambda *_: fixed)
    _show(found)
    if any(result.lost or result.repeated for result in found.values()):
        sys.exit("Work was lost or done twice.")


def _show(found: dict[str, Result]) -> None:
    table = Table(
        title="A night: hours of replicas, and minutes of waiting (mean, 95 %, longest)",
        caption="stopped: replicas that were told to go while they worked",
    )
    for column in ("", "hours", "most", "wait", "95 %", "longest"):
        table.add_column(column, justify="right")
    for column in ("stopped", "lost", "twice"):
        table.add_column(column, justify="right")
    for name, result in found.items():
        waits = [wait / 60 for wait in result.waits]
        slowest = quantiles(waits, n=20)[-1] if len(waits) > 1 else max(waits)
        numbers = (result.replica_seconds / 3600, result.most, mean(waits), slowest, max(waits))
        counts = (result.stopped_at_work, result.lost, result.repeated)
        table.add_row(name, *(f"{number:.1f}" for number in numbers), *map(str, counts))
    Console().print(table)


if __name__ == "__main__":
    simulate()
