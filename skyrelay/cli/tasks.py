"""What does an operator do with tasks at the command line, whoever's they are?"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyrelay.cli.installation import opened
from skyrelay.cli.parameters import assignments_option, parsed, read_preset
from skyrelay.errors import Permanent
from skyrelay.parameters import ParameterError, validate
from skyrelay.products import IMAGE
from skyrelay.settings import get_settings
from skyrelay.stages import STAGES
from skyrelay.store import open_store

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateway.core import Gateway
    from gateway.models import Task

#: What a list may be sorted by.
_FIELDS = ("id", "created", "modified", "user", "state", "original_name", "title")
#: For the record.
_BY = "the command line"

_ids = click.argument("ids", type=click.IntRange(1, 2**31 - 1), nargs=-1, required=True)
_ids_or_all = click.argument("ids", type=click.IntRange(1, 2**31 - 1), nargs=-1)


def _steps_option(*, required: bool) -> Callable[..., Any]:
    return click.option(
        "-r", "--run", "steps", multiple=True, required=required, metavar="STEP",
        type=click.Choice([stage.step for stage in STAGES]),
        help="A step to run; several are run one after the other.",
    )  # fmt: skip


@click.group()
def tasks() -> None:
    """Tasks of this installation, whoever's they are."""


@tasks.command("list")
@click.option("-s", "--sort", type=click.Choice(_FIELDS), default="modified", show_default=True)
@click.option("--state", help="Only those in this state.")
@click.option("--user", help="Only those of this user.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(sort: str, state: str | None, user: str | None, as_json: bool) -> None:
    """List tasks, the latest, or largest, first."""
    from sqlalchemy import select

    from gateway.api import serializers
    from gateway.models import Task, User

    column = User.username if sort == "user" else getattr(Task, sort)
    query = select(Task).join(User).order_by(column.desc(), Task.id.desc())
    if state is not None:
        query = query.where(Task.state == state)
    if user is not None:
        query = query.where(User.username == user)
    with opened() as gateway, gateway.database.reading() as session:
        found: list[dict[str, Any]] = [
            dict(serializers.task_in_full(task)) for task in session.scalars(query)
        ]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    table = Table(*_FIELDS, box=None, pad_edge=False)
    for task in found:
        table.add_row(*(escape(str(task[name])) for name in _FIELDS))
    Console(soft_wrap=True).print(table)


@tasks.command("import")
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("-u", "--user", "owner", required=True, metavar="NAME", help="Whose they become.")
@click.option("--preset", metavar="NAME|FILE", help="A preset, or JSON file; -c wins over it.")
@assignments_option
@_steps_option(required=False)
def import_(
    images: tuple[Path, ...],
    owner: str,
    preset: str | None,
    assignments: tuple[str, ...],
    steps: tuple[str, ...],
) -> None:
    """Make a task of each of the IMAGES, and run steps of it."""
    given = parsed(assignments)
    with opened() as gateway:
        config, files = _preset(gateway, preset)
        for image in images:
            task_id = _import(gateway, owner, image, config | given, files)
            click.echo(f"{task_id}: {image.name}")
            if steps:
                _run(gateway, task_id, steps, {})


@tasks.command()
@_ids
@_steps_option(required=True)
@assignments_option
def run(ids: tuple[int, ...], steps: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Run steps of the tasks IDS, one after the other; a gateway must be up to send them out."""
    config = parsed(assignments)
    with opened() as gateway:
        _each(ids, lambda task_id: _run(gateway, task_id, steps, config))


@tasks.command()
@click.option("--all", "every", is_flag=True, help="Whatever runs.")
@_ids_or_all
def cancel(ids: tuple[int, ...], every: bool) -> None:
    """Stop the runs of the tasks IDS, or of all."""
    from gateway.orchestration.cancel import NotRunning, cancel, cancel_all

    if bool(ids) is every:
        raise click.UsageError("Name tasks, or --all.")
    with opened() as gateway:
        if every:
            click.echo(f"{cancel_all(gateway, f'stopped by {_BY}')} runs are cancelled.")
            return

        def cancel_one(task_id: int) -> None:
            with gateway.database.writing() as session:
                task = _locked(session, task_id)
                try:
                    cancel(gateway, session, task, f"stopped by {_BY}")
                except NotRunning as error:
                    raise Permanent("It is not running.") from error
                _remember(session, "processing_cancel", task)
            click.echo(f"{task_id}: cancelled")

        _each(ids, cancel_one)


@tasks.command()
@_ids
def delete(ids: tuple[int, ...]) -> None:
    """Delete the tasks IDS with their files."""
    from gateway import lifetime

    with opened() as gateway:

        def delete_one(task_id: int) -> None:
            with gateway.database.writing() as session:
                task = _locked(session, task_id)
                _remember(session, "task_delete", task, original_name=task.original_name)
                session.flush()
                lifetime.delete(gateway, session, task)
            click.echo(f"{task_id}: deleted")

        _each(ids, delete_one)
        gateway.store.empty_trash()


@tasks.command()
def backup() -> None:
    """Write the files of all tasks to the standard output, as a tar archive.

    Stages may publish meanwhile. Copy the database before.
    """
    from skyrelay.store.backup import BackupBusy, write_archive

    settings = get_settings()
    if settings.tasks_url:
        raise click.ClickException(f"The tasks are in a bucket, {settings.tasks_url}: copy that.")
    if sys.stdout.isatty():
        raise click.UsageError("Redirect the output to a file.")
    try:
        lost = write_archive(open_store(settings), sys.stdout.buffer)
    except BackupBusy as error:
        raise click.ClickException("Another backup is being written; wait for its end.") from error
    except OSError as error:
        raise click.ClickException(f"The backup is of no use: {error}") from error
    for task_id, reason in lost.items():
        click.echo(f"{task_id}: is not in the backup: {reason}", err=True)
    if lost:
        click.get_current_context().exit(1)


@tasks.command()
@_ids
def skyportal(ids: tuple[int, ...]) -> None:
    """Print the photometry of the targets of the tasks IDS as a table for SkyPortal."""
    from gateway.skyportal import table

    with opened() as gateway:
        output = io.StringIO(newline="")
        writer = csv.DictWriter(output, table.COLUMNS, lineterminator="\n")
        writer.writeheader()

        def write(task_id: int) -> None:
            with gateway.database.reading() as session:
                task = _found(session, task_id)
                writer.writerows(table.photometry(gateway, task))

        try:
            _each(ids, write)
        finally:
            click.echo(output.getvalue(), nl=False)


@tasks.command()
@_ids_or_all
def upgrade(ids: tuple[int, ...]) -> None:
    """Find out where on the sky the tasks IDS lie, or all of which it is not known."""
    upkeep = _upkeep()
    with opened() as gateway:

        def locate(task_id: int) -> None:
            with gateway.database.writing() as session:
                task = _locked(session, task_id, idle=True)
                located = upkeep.locate(gateway, task)
                if located:
                    _remember(session, "task_update", task, fields=["ra", "dec", "radius", "moc"])
                where = f"{task.ra:.4f} {task.dec:+.4f}" if located else "no usable coordinates"
            click.echo(f"{task_id}: {where}")

        _each(ids or _all(gateway, lambda task: not upkeep.is_located(task)), locate)


@tasks.command("migrate-votables")
@_ids_or_all
def migrate_votables(ids: tuple[int, ...]) -> None:
    """Turn objects.vot and cat.vot of the tasks IDS, or of all, into Parquet files."""
    upkeep = _upkeep()
    with opened() as gateway:

        def convert(task_id: int) -> None:
            with gateway.database.writing() as session:
                made = upkeep.convert_tables(gateway, _locked(session, task_id, idle=True))
            if made:
                click.echo(f"{task_id}: {', '.join(made)}")

        _each(ids or _all(gateway, lambda task: True), convert)
        gateway.store.empty_trash()


def _each(ids: Sequence[int], work: Callable[[int], None]) -> None:
    """Do it for every task; those with which it cannot be done are named, and end it with 1."""
    failed = False
    for task_id in ids:
        try:
            work(task_id)
        except Permanent as error:
            failed = True
            click.echo(f"{task_id}: {error}", err=True)
    if failed:
        click.get_current_context().exit(1)


def _all(gateway: Gateway, condition: Callable[[Task], bool]) -> list[int]:
    from sqlalchemy import select

    from gateway.models import Task

    with gateway.database.reading() as session:
        found = session.scalars(select(Task).order_by(Task.id))
        return [task.id for task in found if condition(task)]


def _found(session: Session, task_id: int) -> Task:
    from gateway.models import Task

    return _there(session.get(Task, task_id))


def _locked(session: Session, task_id: int, *, idle: bool = False) -> Task:
    """The task, with nobody else changing it; with ``idle`` only if it has no open run."""
    from gateway.orchestration.runs import lock_task

    task = _there(lock_task(session, task_id))
    if idle and task.celery_id is not None:
        raise Permanent("It is being processed: try again when that has ended.")
    return task


def _there(task: Task | None) -> Task:
    if task is None:
        raise Permanent("There is no such task.")
    return task


def _run(gateway: Gateway, task_id: int, steps: Sequence[str], config: dict[str, Any]) -> None:
    from gateway.audit import entries_of_run
    from gateway.orchestration.runs import AlreadyRunning, start

    with gateway.database.writing() as session:
        task = _locked(session, task_id)
        before = task.config
        try:
            run = start(gateway, session, task, steps, config, task.user_id)
        except AlreadyRunning as error:
            raise Permanent("It is being processed already.") from error
        for action, details in entries_of_run(run, before, task.config):
            _remember(session, action, task, **details)
    click.echo(f"{task_id}: runs ({', '.join(steps)})")


def _import(
    gateway: Gateway, owner: str, image: Path, config: dict[str, Any], files: Sequence[Path]
) -> int:
    from gateway import lifetime, local_files
    from gateway.accounts import find_user
    from gateway.models import Task

    with ExitStack() as received:
        contents = {}
        for name, path in {IMAGE: image, **{path.name: path for path in files}}.items():
            contents[name] = received.enter_context(gateway.store.incoming())
            local_files.copy(path, contents[name])
            gateway.store.complete(contents[name])
        with gateway.database.writing() as session:
            user = find_user(session, owner)
            if user is None:
                raise Permanent(f"There is no user {owner}.")
            task = Task(
                original_name=image.name, state="imported", user=user, config=config, reasons=[]
            )
            with lifetime.made(gateway, session, task, contents):
                _remember(session, "task_create", task, original_name=image.name, source="import")
            return task.id


def _preset(gateway: Gateway, preset: str | None) -> tuple[dict[str, Any], list[Path]]:
    """The configuration and the files of a preset: a file of JSON, or one of the installation."""
    from sqlalchemy import select

    from gateway import local_files
    from gateway.models import Preset

    if preset is None:
        return {}, []
    if Path(preset).is_file():
        return read_preset(Path(preset)), []
    with gateway.database.reading() as session:
        found = session.scalar(select(Preset).where(Preset.name == preset).order_by(Preset.id))
    if found is None:
        raise Permanent(f"There is neither a file nor a preset {preset}.")
    try:
        files = [local_files.find(gateway.settings, name) for name in found.files]
        return validate(found.config).config, files
    except FileNotFoundError as error:
        raise Permanent(f"The file {error} of the preset is not in the data folder.") from error
    except ParameterError as error:
        raise Permanent(f"The configuration of the preset is wrong: {error}") from error


def _remember(session: Session, action: str, task: Task, **details: Any) -> None:
    from gateway.audit import remember

    remember(session, action, task_id=task.id, by=_BY, **details)


def _upkeep() -> Any:
    try:
        from gateway import upkeep
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"This needs the packages of the stage services ({error.name} is missing here)."
        ) from error
    return upkeep
