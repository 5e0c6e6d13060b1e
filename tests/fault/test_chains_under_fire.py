"""Do chains come to exactly one end while their processes are killed, one every other second?

The long form (``-m soak``) takes its length and its dice from the environment: SOAK_CHAINS,
SOAK_SEED. It prints what it has done.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gateway.core import Gateway
from gateway.models import DeadLetter, Run, RunState, StageAttempt
from tests.support.fleet import Fleet, fleet, sigkill
from tests.support.gateway import opened
from tests.support.invariants import verdict, wait_for_the_end
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


#: Who is killed, or asked to end.
KINDS = (
    "replica",
    "replica drained",
    "worker",
    "guard",
    "web",
    "web worker",
    "events",
    "worker and replica",
)

#: Seconds that a replica which is asked to end may take to finish: some hand their stage back.
DRAIN_GRACE = 0.2

#: Of so many chains one is cancelled, and one is deleted, each at some moment of its life.
ONE_CANCELLED_OF, ONE_DELETED_OF = 6, 12

#: Of so many chains one has a stage that is split.
ONE_SPLIT_OF, PARTS = 4, 3

#: Seconds after which a chain is stopped, at the latest.
LATEST_STOP = 3.0

#: What may be said of a chain that nobody stopped, and that is not done.
DIED = re.compile(r"[Tt]he worker died|was given up: |its worker died again and again")

#: Of those that nobody stopped, the share that is done, at least. Three kills in a row would have
#: to hit the same stage: each takes one of four workers, less than one in two seconds, and a stage
#: is half a second long. So it is one chain in many thousands; a tenth is left to busy machines.
LEAST_DONE = 0.9


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
        kind = self._dice.choice(KINDS)
        targets = self._targets(kind)
        for pid in targets:
            if kind == "replica drained":
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            else:
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


class Stopper:
    """Cancels some of the chains and deletes others, each at a moment that the dice say."""

    def __init__(self, fleet: Fleet, dice: random.Random) -> None:
        self._fleet = fleet
        self._dice = dice
        self.chosen: set[str] = set()
        self._due: list[tuple[float, str, bool]] = []

    def watch(self, number: int, run: str) -> None:
        """Perhaps stop this chain, later."""
        delete = number % ONE_DELETED_OF == 1
        if delete or number % ONE_CANCELLED_OF == 0:
            moment = time.monotonic() + self._dice.uniform(0, LATEST_STOP)
            self._due.append((moment, run, delete))
            self.chosen.add(run)

    def stop(self) -> None:
        """Stop those for whom it is time."""
        for each in [each for each in self._due if each[0] <= time.monotonic()]:
            self._due.remove(each)
            _, run, delete = each
            if delete:
                self._fleet.delete(run)
            else:
                self._fleet.cancel(run)


def under_fire(place: Installation, amqp_uri: str, chains: int, seed: int) -> None:
    """Run so many chains under fire, and look whether the promise was kept."""
    dice = random.Random(seed)
    place.environment["SKYRELAY_DRAIN_GRACE"] = str(DRAIN_GRACE)
    begun = time.monotonic()
    traces: dict[str, Path] = {}
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place, slots=2) as made,
    ):
        shooter, stopper = Shooter(made, dice), Stopper(made, dice)
        still = Stillness()
        while (closed := len(made.accepted) - _open(gateway)) < chains:
            assert still.seconds(closed) < HANGS, made.logs()
            shooter.shoot()
            stopper.stop()
            if len(made.accepted) == min(chains, closed + OPEN_AT_A_TIME):
                time.sleep(0.05)
                continue
            number = len(made.accepted)
            trace = place.folder / f"trace-{number}"
            steps = ["trial"] * LENGTH
            if number % ONE_SPLIT_OF == 2:
                steps[1] = "divided"
            task = made.ask(lambda client: client.create_task(original_name="a.fits")).id
            split = {"parts": PARTS, "seconds": dice.uniform(0.0, 0.2)}
            run = made.process(task, steps, _order(dice, trace), divided=split)
            traces[run] = trace
            stopper.watch(number, run)
        assert wait_for_the_end(gateway, 60.0), made.logs()
        seconds = time.monotonic() - begun
        found = verdict(made, gateway, traces, amqp_uri)
        by_itself = traces.keys() - stopper.chosen
        mishaps = _mishaps(gateway, by_itself)
        report = _report(gateway, traces)
    print(
        f"\n{chains} chains of {LENGTH} on {gateway.database.url.get_backend_name()}, seed {seed}:"
        f" {seconds:.0f} s, {sum(shooter.kills.values())} kills {dict(shooter.kills)},"
        f" {report}, {len(found)} violations"
    )
    assert not found, "\n".join([*found, made.logs(200)])
    assert all(DIED.search(reasons) for reasons in mishaps), mishaps
    assert len(mishaps) <= (1 - LEAST_DONE) * len(by_itself), mishaps
    assert sum(shooter.kills.values()) >= chains / 10
    assert made.cancelled and made.deleted


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


def _mishaps(gateway: Gateway, runs: Collection[str]) -> list[str]:
    """What is said of those of these runs that are not done."""
    with gateway.database.reading() as session:
        found = {run.id: run for run in session.scalars(select(Run))}
    return [
        f"{found[run].state}: {' '.join(found[run].reasons)}"
        for run in runs
        if found[run].state != RunState.DONE
    ]


def _report(gateway: Gateway, traces: dict[str, Path]) -> dict[str, int]:
    """How the runs have ended, and what that took."""
    with gateway.database.reading() as session:
        counts = Counter(session.scalars(select(Run.state)))
        retries = session.scalar(select(func.count()).where(StageAttempt.attempt > 1)) or 0
        put_aside = session.scalar(select(func.count()).select_from(DeadLetter)) or 0
    written = [trace.read_text() for trace in traces.values() if trace.exists()]
    begun = Counter(line.split()[0] for text in written for line in text.splitlines())
    return {
        **counts,
        "retries": retries,
        "broken off": begun["begun"] - begun["ended"],
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
