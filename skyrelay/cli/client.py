"""How does a user work with the tasks of a running server at the command line?

The server's address and the user's token come from ``SKYRELAY_URL`` and ``SKYRELAY_TOKEN``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from skyrelay.client import Client, ClientError, StillRunning, Task, TaskState
from skyrelay.parameters import ParameterError, parse_assignments

#: Exit codes of ``wait``: the run has failed or was cancelled; it goes on.
_FAILED, _STILL_RUNNING = 1, 2
#: Seconds between two looks at a log that grows.
_LOOK = 0.5
#: What may be done to many tasks at once.
_ACTIONS = ("archive", "cleanup", "delete", "add_to_groups", "remove_from_groups")

_config = click.option(
    "-c", "--config", "assignments", multiple=True, metavar="NAME=VALUE", help="A parameter."
)
_step = click.option("-s", "--step", "steps", multiple=True, help="A step; in the order given.")
_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
@click.option("--url", envvar="SKYRELAY_URL", required=True, help="Address of the server.")
@click.option("--token", envvar="SKYRELAY_TOKEN", required=True, help="The user's token.")
@click.pass_context
def task(context: click.Context, url: str, token: str) -> None:
    """Tasks of a running server."""
    context.obj = Client(url, token)
    context.call_on_close(context.obj.close)


@contextmanager
def _refusals() -> Iterator[None]:
    """What the server refuses ends the command with its sentence."""
    try:
        yield
    except ClientError as error:
        raise click.ClickException(str(error)) from error


def _parameters(assignments: Sequence[str]) -> dict[str, Any]:
    try:
        return parse_assignments(list(assignments))
    except ParameterError as error:
        raise click.UsageError(str(error)) from error


@task.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--title", help="What it is called.")
@click.option("--preset", type=int, help="Number of the preset that it begins with.")
@click.option("--group", "groups", multiple=True, help="Share it with this group.")
@_config
@_step
@click.pass_obj
def create(
    client: Client,
    files: tuple[Path, ...],
    title: str | None,
    preset: int | None,
    groups: tuple[str, ...],
    assignments: tuple[str, ...],
    steps: tuple[str, ...],
) -> None:
    """Make a task of each of FILES, and print its number; with --step, process it at once."""
    config = _parameters(assignments)
    for file in files:
        with _refusals():
            made = client.create_task(
                file, title=title, preset=preset, groups=groups, config=config, steps=steps
            )
        for warning in made.warnings:
            click.echo(f"Warning: {warning}", err=True)
        click.echo(made.id)


@task.command("list")
@click.option("--query", default="", help="Words to be found in name, title, owner or groups.")
@click.option("--state", default="", help="Exactly this state.")
@click.option("--at", metavar="PLACE", help="Only those that cover it: coordinates, or a name.")
@click.option("--radius", type=float, help="Around the place, in degrees.")
@_as_json
@click.pass_obj
def list_(
    client: Client, query: str, state: str, at: str | None, radius: float | None, as_json: bool
) -> None:
    """List the tasks that you may see, the newest first."""
    with _refusals():
        if at is None:
            found = list(client.tasks(query=query, state=state))
        else:
            rows = client.covering(at, radius=radius, query=query, state=state)
            found = [Task.model_validate(row) for row in rows]
    if as_json:
        _print_json([each.model_dump(mode="json", exclude_unset=True) for each in found])
        return
    table = Table("id", "name", "title", "state", "user", box=None)
    for each in found:
        table.add_row(str(each.id), each.original_name, each.title, each.state, each.user)
    Console(soft_wrap=True).print(table)


@task.command()
@click.argument("number", type=int)
@click.argument("steps", nargs=-1, required=True)
@_config
@click.option("--priority", type=click.IntRange(-10, 10), default=0, help="Go before others.")
@click.pass_obj
def process(
    client: Client,
    number: int,
    steps: tuple[str, ...],
    assignments: tuple[str, ...],
    priority: int,
) -> None:
    """Process the task NUMBER: STEPS one after the other; prints the run's id."""
    config = _parameters(assignments)
    with _refusals():
        started = client.process(number, steps, config, priority=priority)
    click.echo(started.celery_id)


@task.command()
@click.argument("number", type=int)
@click.pass_obj
def cancel(client: Client, number: int) -> None:
    """Stop the run of the task NUMBER."""
    with _refusals():
        left = client.cancel(number)
    click.echo(f"Stopped; {left} stages were not finished.", err=True)


@task.command()
@click.argument("number", type=int)
@click.option("--timeout", type=float, help="Seconds after which to give up.")
@click.option("--quiet", is_flag=True, help="Say nothing of the progress.")
@click.pass_obj
def wait(client: Client, number: int, timeout: float | None, quiet: bool) -> None:
    """Wait until the task NUMBER is not processed any more, and print its state.

    Exit code 0: the run has ended well; 1: it has failed or was cancelled; 2: it goes on.
    """
    try:
        with _refusals_but_waiting():
            state = client.wait(
                number, timeout=timeout, on_progress=None if quiet else _show_progress
            )
    except StillRunning as error:
        click.echo(str(error), err=True)
        sys.exit(_STILL_RUNNING)
    click.echo(state.state)
    if state.error:
        click.echo(state.error, err=True)
    sys.exit(_FAILED if state.failed or state.state == "cancelled" else 0)


@contextmanager
def _refusals_but_waiting() -> Iterator[None]:
    try:
        yield
    except StillRunning:
        raise
    except ClientError as error:
        raise click.ClickException(str(error)) from error


def _show_progress(state: TaskState) -> None:
    if state.running and state.progress is not None:
        click.echo(f"{state.progress:4.0%} {state.step}: {state.doing}", err=True)


@task.command()
@click.argument("number", type=int)
@click.pass_obj
def state(client: Client, number: int) -> None:
    """Print where the task NUMBER stands, as JSON."""
    with _refusals():
        found = client.state(number)
    _print_json(found.model_dump(mode="json", exclude_unset=True))


@task.command()
@click.argument("number", type=int)
@_as_json
@click.pass_obj
def results(client: Client, number: int, as_json: bool) -> None:
    """Show what was measured in the task NUMBER."""
    with _refusals():
        found = client.results(number)
    if as_json:
        _print_json(found.model_dump(mode="json"))
        return
    console = Console(soft_wrap=True)
    for name, value in (
        ("zero point", found.zero_point),
        ("limit", found.mag_limit),
        ("FWHM", found.fwhm_arcsec),
    ):
        if value is not None and value.get("value") is not None:
            error = f" ± {value['error']:.3f}" if value.get("error") is not None else ""
            console.print(f"{name}: {value['value']:.3f}{error} {value.get('unit', '')}")
    table = Table("step", "name", "ra", "dec", "mag", "error", "limit", "S/N", "score", box=None)
    for row in (*found.targets, *found.candidates):
        columns = ("ra", "dec", "mag", "mag_error", "mag_limit", "sn", "score")
        table.add_row(row["step"], row["name"], *(_number(row.get(name)) for name in columns))
    if table.row_count:
        console.print(table)
    if not found.stages and not table.row_count:
        if found.celery_id is not None:
            todo = f"wait for its run to end: `skyrelay task wait {number}`"
        else:
            todo = f"process it: `skyrelay task process {number} inspect photometry`"
        click.echo(f"Nothing was measured yet (state {found.state}); {todo}.", err=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}" if abs(value) < 1 else f"{value:.4f}"


@task.command()
@click.argument("number", type=int)
@_as_json
@click.pass_obj
def files(client: Client, number: int, as_json: bool) -> None:
    """List the files of the task NUMBER."""
    with _refusals():
        found = client.files(number)
    if as_json:
        _print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        click.echo(f"{each.size:>12}  {each.name}{'/' if each.is_dir else ''}")


@task.command()
@click.argument("number", type=int)
@click.argument("path")
@click.argument("target", type=click.Path(path_type=Path), default=Path())
@click.pass_obj
def download(client: Client, number: int, path: str, target: Path) -> None:
    """Fetch PATH of the task NUMBER into the file or folder TARGET."""
    with _refusals():
        click.echo(client.download(number, path, target))


@task.command()
@click.argument("number", type=int)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path", required=False)
@click.pass_obj
def upload(client: Client, number: int, file: Path, path: str | None) -> None:
    """Store FILE in the task NUMBER, under PATH or under its own name."""
    with _refusals():
        client.upload(number, file, path)


@task.command()
@click.argument("number", type=int)
@click.argument("step")
@click.option("-f", "--follow", is_flag=True, help="Go on as long as the step works.")
@click.pass_obj
def log(client: Client, number: int, step: str, follow: bool) -> None:
    """Print what STEP of the task NUMBER says."""
    start, live = 0, True
    while live:
        with _refusals():
            text, more = client.log(number, step, start)
        click.echo(text, nl=False)
        start += len(text.encode())
        live = follow and more
        if live:
            time.sleep(_LOOK)


@task.command()
@click.argument("numbers", type=int, nargs=-1, required=True)
@click.pass_obj
def delete(client: Client, numbers: tuple[int, ...]) -> None:
    """Delete the tasks NUMBERS with their files, and stop their runs."""
    for number in numbers:
        with _refusals():
            client.delete(number)


@task.command()
@click.argument("action", type=click.Choice(_ACTIONS))
@click.argument("numbers", type=int, nargs=-1, required=True)
@click.option("--group", "groups", multiple=True, help="A group to share with, or no longer.")
@click.pass_obj
def act(client: Client, action: str, numbers: tuple[int, ...], groups: tuple[str, ...]) -> None:
    """Do ACTION with each of the tasks NUMBERS; those that do not allow it are named."""
    with _refusals():
        answers = client.act(action, numbers, groups)
    failed = [each for each in answers if each.status == "error"]
    for each in failed:
        click.echo(f"{each.id}: {each.error}", err=True)
    sys.exit(_FAILED if failed else 0)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1))
