"""``skyrelay doctor``: is this installation well, and what is to be mended?

Run it where a process runs, with its settings: beside the gateway it looks at everything, beside a
stage it cannot see the database and says so.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests

from skyrelay.broker import topology
from skyrelay.broker.connection import CHANNEL_ERRORS, CONNECTION_ERRORS, connect, using
from skyrelay.broker.lengths import lengths
from skyrelay.programs import PATIENCE, PROGRAMS, Program, told_version
from skyrelay.settings import Settings, get_settings
from skyrelay.sky.remote import services
from skyrelay.sky.remote.services import Service
from skyrelay.stages import SERVICES
from skyrelay.store import open_store

#: Part of the store that should be free, as the alert has it.
ROOM = 0.1
#: Seconds by which clocks may differ before waiting times make no sense.
SKEW = 5.0


class Health(StrEnum):
    """What is found; only the last is a reason for an exit code of 1."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "MEND"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it if anything."""

    health: Health
    what: str
    said: str


@click.command()
@click.option("--sky/--no-sky", default=True, help="Whether to ask the sky services, too.")
def doctor(sky: bool) -> None:
    """Look at programs, broker, database, store, sky services and clock; say what to mend."""
    settings = get_settings()
    parts = [_programs, _broker, _database, _store, _bucket, *([_sky] if sky else [])]
    worst = False
    for part in parts:
        for finding in part(settings):
            worst |= finding.health is Health.BAD
            click.echo(f"{finding.health:5} {finding.what}: {finding.said}")
    if worst:
        raise SystemExit(1)


def _programs(settings: Settings) -> Iterator[Finding]:
    for program in PROGRAMS:
        given: str | None = getattr(settings, program.setting)
        name = program.executables[0]
        path = given if given else next(filter(None, map(shutil.which, program.executables)), None)
        if path is not None and shutil.which(path) is not None:
            yield Finding(Health.GOOD, name, f"{_version(path, program)} ({path})")
        elif given or program.packaged:
            setting = program.setting.upper()
            said = f"not found; where stages run, install it or name it in {setting}"
            yield Finding(Health.BAD if given else Health.NOTE, name, said)


def _version(path: str, program: Program) -> str:
    try:
        return told_version(path, program)[:80] or "of unknown version"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it does not run: {error}"


def _broker(settings: Settings) -> Iterator[Finding]:
    names = [queue.name for queue in topology.queues(settings.skyrelay_retry_delays)]
    try:
        with using(connect(settings.amqp_uri, "doctor")) as connection:
            version = connection.connection.server_properties.get("version", "?")
            yield Finding(Health.GOOD, "broker", f"RabbitMQ {version}")
            found = lengths(connection, names)
    except CONNECTION_ERRORS as error:
        yield Finding(Health.BAD, "broker", f"it does not answer ({error}); look at AMQP_URI")
        return
    except CHANNEL_ERRORS as error:
        said = f"{error}; start the gateway, which makes the queues"
        yield Finding(Health.BAD, "queues", said)
        return
    idle = [
        service for service in SERVICES if not found[topology.work_queue(service).name].consumers
    ]
    if idle:
        said = f"nobody works for {', '.join(idle)}; fine if they are scaled to zero"
        yield Finding(Health.NOTE, "queues", said)
    if not found[topology.gateway_events().name].consumers:
        yield Finding(
            Health.BAD, "queues", "nobody hears the stages: start `python -m gateway events`"
        )
    else:
        yield Finding(Health.GOOD, "queues", f"all {len(names)} are there")


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        from gateway.database import Database
        from gateway.migrate import is_newest
    except ModuleNotFoundError:
        yield Finding(Health.NOTE, "database", "not to be seen from here; ask beside the gateway")
        return
    database = Database(settings.database_url)
    try:
        where = database.url.render_as_string(hide_password=True)
        if not database.answers():
            yield Finding(Health.BAD, "database", f"{where} does not answer; look at DATABASE_URL")
        elif not is_newest(database):
            said = f"{where} has tables of another version: `python -m gateway migrate`"
            yield Finding(Health.BAD, "database", said)
        else:
            yield Finding(Health.GOOD, "database", where)
    finally:
        database.close()


def _store(settings: Settings) -> Iterator[Finding]:
    root = settings.tasks_path
    try:
        with TemporaryDirectory(prefix=".doctor-", dir=root) as folder:
            _try_links(Path(folder))
        room = shutil.disk_usage(root)
    except OSError as error:
        said = f"{error}; TASKS_PATH must be writable, with hard and symbolic links"
        yield Finding(Health.BAD, "store", said)
        return
    free = room.free / room.total
    said = f"{root}, {free:.0%} of {room.total / 1024**3:.0f} GiB free"
    if free < ROOM:
        yield Finding(Health.BAD, "store", f"{said}; make room")
    else:
        yield Finding(Health.GOOD, "store", said)
    if not settings.data_path.is_dir():
        yield Finding(Health.NOTE, "data", f"there is no folder {settings.data_path} (DATA_PATH)")


def _bucket(settings: Settings) -> Iterator[Finding]:
    if not settings.tasks_url:
        return
    try:
        answers = open_store(settings).answers()
    except (OSError, ValueError) as error:
        yield Finding(Health.BAD, "bucket", f"{error}; look at TASKS_URL and TASKS_PATH")
        return
    if answers:
        yield Finding(Health.GOOD, "bucket", settings.tasks_url)
    else:
        said = f"{settings.tasks_url} does not answer; look at TASKS_URL and the variables of AWS"
        yield Finding(Health.BAD, "bucket", said)


def _try_links(folder: Path) -> None:
    """What the store needs of its file system."""
    (folder / "file").write_text("x")
    (folder / "hard").hardlink_to(folder / "file")
    (folder / "symbolic").symlink_to("file")
    (folder / "symbolic").rename(folder / "renamed")


def _sky(settings: Settings) -> Iterator[Finding]:
    if settings.skyrelay_offline:
        yield Finding(Health.NOTE, "sky", "nobody is asked (SKYRELAY_OFFLINE)")
        return
    known = [each for each in vars(services).values() if isinstance(each, Service)]
    with ThreadPoolExecutor(len(known)) as pool:
        answers = list(pool.map(lambda service: _ask(service, settings), known))
    skews = [skew for _, skew in answers if skew is not None]
    yield from (finding for finding, _ in answers)
    if skews:
        skew = sorted(skews)[len(skews) // 2]
        if abs(skew) > SKEW:
            said = f"{skew:+.0f} s from that of the sky services; set it (chrony, ntp)"
            yield Finding(Health.BAD, "clock", said)
        else:
            yield Finding(Health.GOOD, "clock", "as those of the sky services")


def _ask(service: Service, settings: Settings) -> tuple[Finding, float | None]:
    """Whether any address of a service answers at all, and by how much our clock is ahead."""
    for address in service.addresses(settings):
        try:
            answer = requests.head(address, timeout=PATIENCE, allow_redirects=True)
        except requests.RequestException:
            continue
        date = answer.headers.get("Date")
        skew = time.time() - parsedate_to_datetime(date).timestamp() if date else None
        return Finding(Health.GOOD, service.title, address), skew
    said = f"no address answers; {service.instead}"
    return Finding(Health.NOTE, service.title, said), None
