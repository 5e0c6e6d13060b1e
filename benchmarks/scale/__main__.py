"""`make sim-scale`: what does scaling by the length of a queue cost, and is work ever lost?

A night is reckoned on paper with the autoscaler's rules and with fixed numbers of replicas. Then it
passes in reality: real replicas on a real queue, one process for a pod, SIGTERM for a scale-in,
whoever it hits, once by the rules and once with as many replicas as let images wait no longer.
Time is compressed; a stage only waits.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.console import say
from benchmarks.scale.night import Image, Result, night, pass_night
from benchmarks.scale.paper import PaperReplicas
from benchmarks.scale.real import RealReplicas
from benchmarks.scale.rules import Autoscaler, Decision, Rules
from skyrelay.stack.broker_node import BrokerNode
from tests.support.station import station

BY_NEED = "by need"
#: Fixed numbers that are tried on paper.
_NUMBERS = (5, 8, 12, 16, 20, 24, 28, 32)


@click.command()
@click.option("--images", default=2000, show_default=True, help="Images of the night.")
@click.option("--service", default="photometry", show_default=True, help="Whose rules.")
@click.option("--hours", default=8.0, show_default=True, help="Length of the night.")
@click.option("--seconds", default=60.0, show_default=True, help="Median of what a stage takes.")
@click.option("--start", default=30.0, show_default=True, help="Seconds a pod takes to start.")
@click.option("--speed", default=60.0, show_default=True, help="Simulated seconds in a second.")
@click.option("--most", default=12, show_default=True, help="Processes that the machine bears.")
@click.option("--paper", is_flag=True, help="On paper only: seconds instead of half an hour.")
def simulate(
    images: int,
    service: str,
    hours: float,
    seconds: float,
    start: float,
    speed: float,
    most: int,
    paper: bool,
) -> None:
    """Let a night of images pass with replicas by need, and with fixed numbers of them."""
    rules = Rules.of(service)
    coming = night(images, hours, seconds)
    work = sum(image.takes for image in coming) / 3600
    _show(f"On paper: {images} images, {work:.0f} hours of work", _on_paper(rules, coming, start))
    if paper:
        return
    rules = dataclasses.replace(rules, most=min(rules.most, most))
    found = _really(rules, coming, start, speed)
    _show(f"Real replicas, {most} at most, {speed:.0f} times as fast", found)
    if any(result.lost or result.repeated for result in found.values()):
        sys.exit("Work was lost or done twice.")


def _on_paper(rules: Rules, coming: list[Image], start: float) -> dict[str, Result]:
    def pass_by(decide: Decision) -> Result:
        return pass_night(coming, PaperReplicas(start), decide, rules.poll)

    found = {BY_NEED: pass_by(Autoscaler(rules))}
    for number in _NUMBERS:
        found[str(number)] = pass_by(_fixed(number))
    return found


def _fixed(number: int) -> Decision:
    return lambda now, length, present: number


def _as_quick(found: dict[str, Result]) -> int:
    """The least of the fixed numbers with which images wait no longer than by need."""
    slowest = found[BY_NEED].slowest
    enough = [number for number in _NUMBERS if found[str(number)].slowest <= slowest]
    return min(enough, default=_NUMBERS[-1])


def _really(rules: Rules, coming: list[Image], start: float, speed: float) -> dict[str, Result]:
    quick = min(_as_quick(_on_paper(rules, coming, start)), rules.most)
    decisions = {BY_NEED: Autoscaler(rules), str(quick): _fixed(quick)}
    found: dict[str, Result] = {}
    with (
        tempfile.TemporaryDirectory(prefix="skyrelay-scale-") as scratch,
        BrokerNode(Path(scratch) / "broker") as node,
    ):
        for name, decide in decisions.items():
            say(f"A night of {len(coming)} images; replicas: {name}.")
            folder = Path(scratch) / name.replace(" ", "-")
            folder.mkdir()
            with station(folder, node.add_vhost(folder.name)) as place:
                found[name] = pass_night(coming, RealReplicas(place, speed), decide, rules.poll)
    return found


def _show(title: str, found: dict[str, Result]) -> None:
    table = Table(
        title=title,
        caption="day, night: hours of replicas in 24 h, and until the last image is done; "
        "waiting in minutes; stopped: replicas that were told to go while they worked",
    )
    columns = ("replicas", "day", "night", "most", "starts", "wait", "95 %", "longest")
    for column in (*columns, "stopped", "lost", "twice"):
        table.add_column(column, justify="right")
    for name, result in found.items():
        times = (result.wait, result.slowest, max(result.waits) / 60)
        counts = (result.stopped_at_work, result.lost, result.repeated)
        table.add_row(
            name,
            f"{result.replica_seconds / 3600:.0f}",
            f"{result.until_done / 3600:.0f}",
            str(result.most),
            str(result.starts),
            *(f"{minutes:.1f}" for minutes in times),
            *map(str, counts),
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    simulate()
