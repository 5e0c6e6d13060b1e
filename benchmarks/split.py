"""`make bench-split`: what does it cost, and gain, to spread one subtraction over two replicas?

One observation of the synthetic sky goes through the real services. Its subtraction is then done
three times: by one worker, in parts by one replica, and in parts by two.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.console import as_interrupt, say
from demo.material import Material, synthetic
from skyrelay.client import Client, Run
from skyrelay.products import CUSTOM_TEMPLATE
from skyrelay.stack.stack import Stack
from skyrelay.stages import INSPECT, PHOTOMETRY, SUBTRACTION
from skyrelay.synthetic import FieldSpec

#: Of the configuration: never split, and always split.
WHOLE, SPLIT = {"sub_split": 0}, {"sub_split": 1}


@click.command()
@click.option("--size", default=4096, show_default=True, help="Pixels of one side of the image.")
def benchmark(size: int) -> None:
    """Measure what it takes to subtract one large image in one piece, and in parts."""
    signal.signal(signal.SIGTERM, as_interrupt)
    with tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as scratch:
        say(f"Observing {size} x {size} pixels of the synthetic sky.")
        material = synthetic(Path(scratch), FieldSpec(seed=1, size=size), {})
        seconds: dict[str, float] = {}
        with Stack(Path(scratch) / "skyrelay", say=say) as stack:
            with Client(stack.base_url, stack.admin_token) as client:
                task = _measured(client, material)
                seconds["whole, by one worker"] = _subtract(client, task, WHOLE)
                seconds["in parts, by one replica"] = _subtract(client, task, SPLIT)
                stack.add_replica(SUBTRACTION.service)
                seconds["in parts, by two replicas"] = _subtract(client, task, SPLIT)
    _show(size, seconds)


def _measured(client: Client, material: Material) -> int:
    """A task with the observation, inspected and measured."""
    assert material.catalogue is not None and material.template is not None
    task = client.create_task(material.image, config=material.full_config()).id
    client.upload(task, material.catalogue)
    client.upload(task, material.template, CUSTOM_TEMPLATE)
    _process(client, task, [INSPECT.step, PHOTOMETRY.step], {})
    return task


def _subtract(client: Client, task: int, config: dict[str, int]) -> float:
    run = _process(client, task, [SUBTRACTION.step], config)
    (stage,) = run.stages
    say(f"{stage.values['n_tiles']['value']} tiles, {len(stage.attempts)} attempts")
    assert stage.seconds is not None
    return stage.seconds


def _process(client: Client, task: int, steps: list[str], config: dict[str, int]) -> Run:
    say(f"Doing {', '.join(steps)} {config or ''}")
    client.process(task, steps, config)
    state = client.wait(task)
    if state.failed:
        sys.exit(f"{state.state}: {state.error}")
    return client.runs(task)[0]


def _show(size: int, seconds: dict[str, float]) -> None:
    table = Table("subtraction", "s", "of the whole", title=f"{size} x {size} pixels")
    whole = next(iter(seconds.values()))
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.1f}", f"{taken / whole:.2f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    benchmark()
