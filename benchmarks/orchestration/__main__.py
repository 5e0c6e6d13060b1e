"""`make bench-orchestration`: Skyrelay and Celery, the same chain, one after the other."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from benchmarks.console import as_interrupt, say
from benchmarks.orchestration import celery_chain, report, skyrelay_chain
from benchmarks.orchestration.figures import Workload
from skyrelay.stack.broker_node import BrokerNode


@click.command()
@click.option("--alone", default=100, show_default=True, help="Chains run one at a time.")
@click.option("--at-once", default=1000, show_default=True, help="Chains run all at once.")
@click.option("--database-url", help="PostgreSQL, say, instead of SQLite, for the gateway.")
@click.option("--without-celery", is_flag=True, help="Measure Skyrelay alone.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep logs and databases in this new folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures for scripts.")
def benchmark(
    alone: int,
    at_once: int,
    database_url: str | None,
    without_celery: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Measure what it costs to hand an image from stage to stage."""
    signal.signal(signal.SIGTERM, as_interrupt)
    workload = Workload(alone=alone, at_once=at_once)
    with tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as scratch:
        folder = folder or Path(scratch)
        say("Starting a private RabbitMQ node.")
        with BrokerNode(folder / "broker") as node:
            broker = (node.amqp_uri, node.pid or 0)
            skyrelay = skyrelay_chain.measure(
                folder / "skyrelay", broker, workload, database_url=database_url, say=say
            )
            celery = None
            if not without_celery:
                celery = celery_chain.measure(folder / "celery", broker, workload, say=say)
    if as_json:
        json.dump(report.as_json(skyrelay, celery), sys.stdout, indent=2)
        print()
    else:
        report.show(Console(highlight=False, width=110), skyrelay, celery)


if __name__ == "__main__":
    benchmark()
