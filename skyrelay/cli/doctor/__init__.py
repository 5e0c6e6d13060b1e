"""``skyrelay doctor``: is this installation well, and what is to be mended?

Run it where a process runs, with its settings: beside the gateway it looks at everything, beside a
stage it cannot see the database and says so.
"""

from __future__ import annotations

from itertools import chain

import click

from skyrelay.cli.doctor.broker import broker
from skyrelay.cli.doctor.clock import clock
from skyrelay.cli.doctor.database import database
from skyrelay.cli.doctor.finding import Health
from skyrelay.cli.doctor.programs import programs
from skyrelay.cli.doctor.sky import sky_services
from skyrelay.cli.doctor.store import bucket, folder
from skyrelay.settings import get_settings


@click.command()
@click.option("--sky/--no-sky", default=True, help="Whether to ask the sky services, too.")
def doctor(sky: bool) -> None:
    """Look at programs, broker, database, store, sky services and clock; say what to mend."""
    settings = get_settings()
    findings = chain(
        programs(settings),
        broker(settings),
        database(settings),
        folder(settings),
        bucket(settings),
        sky_services(settings) if sky else (),
        clock(settings, ask_sky=sky),
    )
    worst = False
    for finding in findings:
        worst |= finding.health is Health.BAD
        click.echo(f"{finding.health:5} {finding.what}: {finding.said}")
    if worst:
        raise SystemExit(1)
