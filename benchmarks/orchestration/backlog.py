"""`make soak-backlog`: does the gateway stay small and quick while a long backlog is drained?"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.console import as_interrupt, say
from benchmarks.orchestration.filling import fill
from benchmarks.orchestration.installation import installation
from benchmarks.orchestration.observer import Observer, Sample
from benchmarks.orchestration.relay.stages import FIRST
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.stack import Stack

#: MiB by which a process of the gateway may grow: caches and pools that fill, not a backlog.
#: Half a kilobyte kept for each of 100,000 tasks would already be more.
MOST_GROWTH = 48.0

#: Seconds in which an endpoint must answer, on a machine that is busy with the draining.
LONGEST_ANSWER = 5.0

#: Seconds without any progress that mean that what is left is lost.
STANDSTILL = 120.0

#: Seconds between two lines about how far it is.
NEWS = 15.0


@click.command()
@click.option("--tasks", default=100_000, show_default=True, help="Length of the backlog.")
@click.option("--replicas", default=2, show_default=True, help="Replicas that drain it.")
@click.option("--database-url", help="PostgreSQL, say, instead of SQLite.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep logs and databases in this new folder."
)
def soak(tasks: int, replicas: int, database_url: str | None, folder: Path | None) -> None:
    """Fill the queue of a stage that does nothing, drain it, and watch the gateway meanwhile."""
    signal.signal(signal.SIGTERM, as_interrupt)
    with tempfile.TemporaryDirectory(prefix="skyrelay-backlog-") as scratch:
        folder = folder or Path(scratch)
        say("Starting a private RabbitMQ node.")
        with (
            BrokerNode(folder / "broker") as node,
            installation(
                folder / "skyrelay",
                node.amqp_uri,
                database_url=database_url,
                replicas={},
                say=say,
            ) as stack,
            Observer(stack) as observer,
        ):
            over = _fill_and_drain(stack, observer, tasks, replicas)
            samples = observer.samples
    _show(samples)
    complaints = _complaints(samples, tasks, over)
    for complaint in complaints:
        say(complaint)
    sys.exit(1 if complaints else 0)


def _fill_and_drain(stack: Stack, observer: Observer, tasks: int, replicas: int) -> int:
    """The number of runs that have ended well."""
    say(f"Making {tasks} tasks with a run each, by the gateway's own functions, not over HTTP.")
    begun = time.monotonic()
    last = begun
    for made in fill(stack, tasks):
        if time.monotonic() > last + NEWS:
            last = time.monotonic()
            say(f"{made} made; {observer.samples[-1].sentence()}")
    say(f"Made in {time.monotonic() - begun:.0f} s. Draining with {replicas} replicas.")
    observer.phase = "draining"
    begun = time.monotonic()
    for _ in range(replicas):
        stack.add_replica(FIRST.service)
    over = _wait_for(observer, tasks)
    taken = time.monotonic() - begun
    say(f"{over} of {tasks} runs have ended well in {taken:.0f} s, {over / taken:.0f} a second.")
    return over


def _wait_for(observer: Observer, tasks: int) -> int:
    over, moved, told = 0, time.monotonic(), 0.0
    while over < tasks and time.monotonic() < moved + STANDSTILL:
        time.sleep(1.0)
        sample = observer.samples[-1]
        if sample.over > over:
            over, moved = sample.over, time.monotonic()
        if time.monotonic() > told + NEWS:
            told = time.monotonic()
            say(f"{tasks - over} left; {sample.sentence()}")
    return over


def _show(samples: list[Sample]) -> None:
    table = Table(title="The gateway, at the beginning and at its worst")
    for heading in ("", "first", "filling", "draining", "last"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, figure in _FIGURES.items():
        worst = [
            max((figure(sample) for sample in samples if sample.phase == phase), default=0.0)
            for phase in ("filling", "draining")
        ]
        row = [figure(samples[0]), *worst, figure(samples[-1])]
        table.add_row(name, *(f"{value:.1f}" for value in row))
    Console(highlight=False, width=100).print(table)


def _complaints(samples: list[Sample], tasks: int, over: int) -> list[str]:
    """What is not as it must be, in sentences."""
    found = []
    if over < tasks:
        found.append(f"{tasks - over} runs have not ended.")
    for name in ("web", "events"):
        growth = max(sample.memory[name] for sample in samples) - samples[0].memory[name]
        if growth > MOST_GROWTH:
            found.append(f"{name} has grown by {growth:.0f} MiB; {MOST_GROWTH:.0f} are allowed.")
    slowest = max(max(sample.seconds.values()) for sample in samples)
    if slowest > LONGEST_ANSWER:
        found.append(f"An answer took {slowest:.1f} s; {LONGEST_ANSWER:.0f} are allowed.")
    return found


_FIGURES: dict[str, Callable[[Sample], float]] = {
    "gateway web, MiB": lambda sample: sample.memory["web"],
    "gateway events, MiB": lambda sample: sample.memory["events"],
    "GET tasks/?limit=10, ms": lambda sample: 1000 * sample.seconds["list"],
    "GET queue/, ms": lambda sample: 1000 * sample.seconds["queue"],
    "GET tasks/<id>/state/, ms": lambda sample: 1000 * sample.seconds["state"],
}


if __name__ == "__main__":
    soak()
