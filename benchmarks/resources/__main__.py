"""`make measure-resources`: how much memory does each container need, and how much work is it?

Images of several sizes pass every service of a real installation with PostgreSQL; then a backlog
is drained. What is found goes to deploy/kubernetes/measured.json, of which the requests and limits
of all manifests are made (deploy/kubernetes/resources.py).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from benchmarks.console import as_interrupt, say
from benchmarks.resources.backlog import needs_of_backlog
from benchmarks.resources.images import Needs, needs_of
from deploy.kubernetes.resources import MEASURED
from tests.support.postgres import cluster


@click.command()
@click.option("--sizes", default="1024 2048 4096", show_default=True, help="Sides of images, px.")
@click.option("--tasks", default=2000, show_default=True, help="Length of the backlog; 0: none.")
def measure(sizes: str, tasks: int) -> None:
    """Measure, and write down; what is not measured this time stays as it was."""
    signal.signal(signal.SIGTERM, as_interrupt)
    folder = Path(tempfile.mkdtemp(prefix="skyrelay-resources-"))
    try:
        with cluster() as postgres:
            for size in map(int, sizes.split()):
                url = postgres.new_database()
                note = partial(_note, str(size))
                needs_of(folder / str(size), size, url, postgres.pid, say, note)
            if tasks:
                url = postgres.new_database()
                needs = needs_of_backlog(folder / "backlog", tasks, url, postgres.pid, say)
                _note(f"backlog of {tasks}", needs)
    finally:
        shutil.rmtree(folder)


def _note(case: str, needs: Needs) -> None:
    known: dict[str, Mapping[str, object]] = {}
    if MEASURED.exists():
        known = json.loads(MEASURED.read_text())
    known[case] = {name: dataclasses.asdict(need) for name, need in needs.items()}
    MEASURED.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    measure()
