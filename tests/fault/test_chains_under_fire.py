"""Do chains come to exactly one end while their processes are killed, one every other second?

The long form (``-m soak``) takes its length and its dice from the environment: SOAK_CHAINS,
SOAK_SEED. It prints what it has done.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gateway.core import Gateway
from gateway.models import DeadLetter, Run, RunState, StageAttempt
from tests.support.fleet import Fleet, fleet, sigkill
from tests.support.gateway import opened
from tests.support.invariants import of_the_broker, violations, wait_for_the_end
from tests.support.processes import children_of
from tests.support.servers import Installation

#: Stages of a chain.
LENGTH = 4

#: Chains that are open at a time: enough to keep all slots busy through every restart.
OPEN_AT_A_TIME = 16

#: Seconds between two kills, on average. A replica needs about two to come up again.
BETWEEN_KILLS = 2.0

#: Seconds for which no chain may stand still. A bound for a hung test, not a measure.
HANGS = 150.0


class Shooter:
    """Kills one process after another, of a kind and a number that the dice say."""

    def __init__(self, fleet: Fleet, dice: random.Random) -> None:
        self.kills: Counter[str] = Counter()
        self._fleet = fleet
        self._dice = dice
        self._next = time.monotonic()

    def shoot(self) -> None:
        """Kill one process, if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._dice.uniform(0.5, 1.5) * BETWEEN_KILLS
        kind = self._dice.choice(
            ["replica", "worker", "guard", "web", "web worker", "events", "worker and replica"]
        )
        targets = self._targets(kind)
        for pid in targets:
            sigkill(pid)
        if targets:
            self.kills[kind] += 1

    def _targets(self, kind: str) -> list[int]:
        fleet, choose = self._fleet, self._dice.choice
        match kind:
            case "web":
                return [choose(fleet.webs).pid]
            case "web worker":
                return self._one_of(children_of(choose(fleet.webs).pid))
            case "events":
                return [choose(fleet.events).pid]
        replica = choose(fleet.replicas).pid
        workers = self._one_of(children_of(replica))
        match kind:
            case "worker":
                return workers
            case "guard":
                return [guard for worker in workers for guard in children_of(worker)[:1]]
            case "worker and replica":
                return [*workers, replica]
        return [replica]

    def _one_of(self, pids: list[int]) -> list[int]:
        return [self._dice.choice(pids)] if pids else []


class Stillness:
    """For how long has nothing moved?"""

    def __init__(self) -> None:
        self._count = 0
        self._since = time.monotonic()

    def seconds(self, count: int) -> float:
        """Seconds since ``count`` was another."""
        if count != self._count:
            self._count, self._since = count, time.monotonic()
        return time.monotonic() - self._since


def under_fire(place: Installation, amqp_uri: str, chains: int, seed: int) -> None:
    """Run so many chains under fire, and look whether the promise was kept."""
    dice = random.Random(seed)
    begun = time.monotonic()
    traces: dict[str, Path] = {}
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place, slots=2) as made,
    ):
        shooter = Shooter(made, dice)
        still = Stillness()
        while (closed := len(made.accepted) - _open(gateway)) < chains:
            assert still.seconds(closed) < HANGS, made.logs()
            shooter.shoot()
            if len(made.accepted) == min(chains, closed + OPEN_AT_A_TIME):
                time.sleep(0.05)
                continue
            trace = place.folder / f"trace-{len(made.accepted)}"
            task = made.ask(lambda client: client.create_task(original_name="a.fits")).id
            run = made.process(task, ["trial"] * LENGTH, _order(dice, trace))
            traces[run] = trace
        assert wait_for_the_end(gateway, 60.0), made.logs()
        found = violations(made, gateway, traces)
        seconds = time.monotonic() - begun
        logs = made.logs(200)
        report = _report(gateway, traces)
        made.end()
        found += of_the_broker(amqp_uri)
    print(
        f"\n{chains} chains of {LENGTH} on {gateway.database.url.get_backend_name()}, seed {seed}:"
        f" {seconds:.0f} s, {sum(shooter.kills.values())} kills {dict(shooter.kills)},"
        f" {report}, {len(found)} violations"
    )
    assert not found, "\n".join([*found, logs])
    assert sum(shooter.kills.values()) >= chains / 10


def _order(dice: random.Random, trace: Path) -> dict[str, object]:
    return {
        "trace": str(trace),
        "seconds": dice.uniform(0.1, 0.5),
        "stamps": True,
        "children": dice.choice([True, "obedient"]),
        "detached": dice.random() < 0.25,
    }


def _open(gateway: Gateway) -> int:
    with gateway.database.reading() as session:
        query = select(func.count()).select_from(Run).where(Run.state == RunState.OPEN)
        return session.scalar(query) or 0


def _report(gateway: Gateway, traces: dict[str, Path]) -> dict[str, int]:
    """How the runs have ended, and what that took."""
    with gateway.database.reading() as session:
        counts = Counter(session.scalars(select(Run.state)))
        retries = session.scalar(select(func.count()).where(StageAttempt.attempt > 1)) or 0
        put_aside = session.scalar(select(func.count()).select_from(DeadLetter)) or 0
    begins = sum(trace.read_text().count("begun") for trace in traces.values())
    return {
        **counts,
        "retries": retries,
        "done again": begins - (len(traces) * LENGTH),
        "put aside": put_aside,
    }


def test_chains_come_to_one_end_while_their_processes_are_killed(
    place: Installation, amqp_uri: str
) -> None:
    under_fire(place, amqp_uri, chains=40, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_chains_come_to_one_end_while_their_processes_are_killed(
    place: Installation, amqp_uri: str
) -> None:
    chains = int(os.environ.get("SOAK_CHAINS", "300"))
    under_fire(place, amqp_uri, chains, int(os.environ.get("SOAK_SEED", "7")))
