"""How long does a stage live after somebody has asked for its end?

``python -m benchmarks.kill``: from the moment before the HTTP request to cancel is sent, to the
moment when the last process of the stage's group is dead. The machine is made busy: a real gateway
and two replicas whose slots are all computing, each with children, and two processes more that do
nothing but keep both cores from them. Measured for groups that obey SIGTERM, and for groups in
which one process ignores it: these are owed the grace, and what comes on top is said.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stage import group
from tests.support.fleet import Fleet, fleet
from tests.support.postgres import cluster
from tests.support.processes import wait_until
from tests.support.servers import TRIAL, installation

#: Replicas, and the slots of each.
REPLICAS, SLOTS = 2, 2

#: Runs that wait beyond those which run, so that a slot which becomes free is busy again at once.
WAITING = 2

#: Milliseconds that are aimed at: median and 99th percentile of groups that obey, and what a
#: group that does not may live beyond its grace.
MEDIAN, PERCENTILE_99, BEYOND_GRACE = 100.0, 500.0, 200.0

#: What a busy process does.
SPIN = "while True: sum(range(10_000))"

#: Processes of a group: the worker, its guard, and the children of the trial.
OBEDIENT, STUBBORN = 4, 6


@dataclass(frozen=True)
class Kill:
    """Milliseconds from the request to the answer, the first death and the last."""

    answer: float
    first: float
    last: float


@dataclass
class Victim:
    """A run that computes, and where it says so."""

    task: int
    trace: Path

    @property
    def worker(self) -> int | None:
        """The process that works on it, once one does."""
        text = self.trace.read_text() if self.trace.exists() else ""
        return int(text.split()[1]) if text.endswith("\n") else None


class Slots:
    """All slots of all replicas, always busy."""

    def __init__(self, made: Fleet, folder: Path, children: str, members: int) -> None:
        self._made = made
        self._folder = folder
        self._children = children
        self._members = members
        self._victims: list[Victim] = []
        self._count = 0

    def fill(self) -> list[Victim]:
        """Begin runs until all slots are busy, with all processes of each; those that run."""
        while len(self._victims) < REPLICAS * SLOTS + WAITING:
            self._victims.append(self._begin())

        def busy() -> list[Victim]:
            return [v for v in self._victims if v.worker and self._is_complete(v.worker)]

        assert wait_until(lambda: len(busy()) >= REPLICAS * SLOTS, 120.0), self._made.logs()
        return busy()

    def kill(self, victim: Victim) -> Kill:
        """Cancel a run, and wait until its group is dead."""
        self._victims.remove(victim)
        assert victim.worker is not None
        watch = Watch(victim.worker)
        asked = time.monotonic()
        watch.start()
        self._made.clients[self._count % 2].cancel(victim.task)
        answered = time.monotonic()
        deaths = watch.deaths()
        assert not group.members(victim.worker)
        moments = (answered, min(deaths), max(deaths))
        return Kill(*(1000.0 * (moment - asked) for moment in moments))

    def empty(self) -> None:
        """Cancel what still runs."""
        while self._victims:
            self._made.clients[0].cancel(self._victims.pop().task)

    def _begin(self) -> Victim:
        self._count += 1
        trace = self._folder / f"trace-{self._children}-{self._count}"
        task = self._made.clients[0].create_task(original_name="a.fits").id
        order = {"trace": str(trace), "children": self._children, "act": "compute"}
        self._made.process(task, ["trial"], order)
        return Victim(task, trace)

    def _is_complete(self, worker: int) -> bool:
        return len(group.members(worker)) >= self._members


class Watch(threading.Thread):
    """Notes the moment of death of every member of a group, without looking all the time."""

    def __init__(self, leader: int) -> None:
        super().__init__()
        self._descriptors = [os.pidfd_open(member.pid) for member in group.members(leader)]
        self._deaths: list[float] = []

    def run(self) -> None:
        """Wait for one death after another."""
        poll = select.poll()
        for descriptor in self._descriptors:
            poll.register(descriptor, select.POLLIN)
        while len(self._deaths) < len(self._descriptors):
            for descriptor, _ in poll.poll():
                self._deaths.append(time.monotonic())
                poll.unregister(descriptor)

    def deaths(self) -> list[float]:
        """The moments, when all are dead."""
        self.join(60.0)
        assert not self.is_alive(), "a group lives on"
        for descriptor in self._descriptors:
            os.close(descriptor)
        return self._deaths


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Processes that want a core each."""
    busy = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(made: Fleet, folder: Path, children: str, members: int, kills: int) -> list[Kill]:
    """Kill so many groups, one at a time, each when all slots are busy."""
    slots = Slots(made, folder, children, members)
    dice = random.Random(1)
    found = []
    for number in range(kills):
        found.append(slots.kill(dice.choice(slots.fill())))
        if sys.stderr.isatty():
            print(f"\r{children}: {number + 1} of {kills}", end="", file=sys.stderr)
    slots.empty()
    return found


def report(name: str, kills: list[Kill], grace: float) -> bool:
    """Print the figures of one kind of group; whether they are what is aimed at."""
    print(f"\n{len(kills)} groups that {name}; milliseconds from the request:")
    print(f"    {'':28}{'median':>8}{'99 %':>8}{'max':>8}")
    owed = 1000.0 * grace
    rows = {
        "to its answer": [kill.answer for kill in kills],
        "to the first death": [kill.first for kill in kills],
        "to the last death": [kill.last for kill in kills],
    }
    if owed:
        rows[f"beyond the grace of {owed:g}"] = [kill.last - owed for kill in kills]
    for title, values in rows.items():
        median, percentile = np.percentile(values, (50, 99))
        print(f"    {title:28}{median:8.1f}{percentile:8.1f}{max(values):8.1f}")
    if owed:
        met, aim = percentile < BEYOND_GRACE, f"99 % < {BEYOND_GRACE:g} beyond the grace"
    else:
        met = median < MEDIAN and percentile < PERCENTILE_99
        aim = f"median < {MEDIAN:g}, 99 % < {PERCENTILE_99:g}"
    print(f"    aim: {aim}: {'met' if met else 'MISSED'}", flush=True)
    return bool(met)


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty database of this kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'gateway.db'}"
        return
    with cluster() as postgres:
        yield postgres.new_database()


def main() -> None:
    """Measure and print; the exit code says whether the aims were met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each kind of group")
    parser.add_argument("--load", type=int, default=2, help="busy processes beside it")
    parser.add_argument("--grace", type=float, default=0.5, help="seconds for those that ignore")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    # Whoever ends us ends what we have started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with (
        tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as name,
        BrokerNode(Path(name, "broker")) as broker,
    ):
        folder = Path(name)
        settings = TRIAL | {"skyrelay_kill_grace": options.grace}
        with (
            database_of(options.database, folder) as database,
            installation(folder, database, broker.amqp_uri, **settings) as place,
            fleet(place, replicas=REPLICAS, slots=SLOTS) as made,
            load(options.load),
        ):
            print(
                f"{options.database}; {os.cpu_count()} cores, {options.load} of them taken by"
                f" others; {REPLICAS} replicas with {SLOTS} slots each, all computing."
            )
            obedient = measure(made, folder, "obedient", OBEDIENT, options.kills)
            met = report("obey SIGTERM", obedient, 0.0)
            stubborn = measure(made, folder, "stubborn", STUBBORN, options.kills)
            met &= report("ignore SIGTERM", stubborn, options.grace)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
