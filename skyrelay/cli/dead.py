"""What does an operator do about messages that were put aside?"""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyrelay.cli.installation import opened

#: Characters of a line that another program reads: one line for each letter.
_PIPE = 10_000

#: Who handles a letter here, for the record.
BY = "the command line"


@click.group()
def dead() -> None:
    """Dead letters: messages on which nobody could work."""


@dead.command("list")
@click.option("--all", "handled", is_flag=True, help="Also those that somebody has dealt with.")
def list_(handled: bool) -> None:
    """List them, the oldest first."""
    from gateway.orchestration import dead_letters

    with opened() as gateway, gateway.database.reading() as session:
        letters = dead_letters.listed(session, handled=handled)
    table = Table("id", "died", "meant for", "task", "reason", "handled", box=None)
    for letter in letters:
        died = letter.died.isoformat(sep=" ", timespec="seconds")
        task = "" if letter.task_id is None else str(letter.task_id)
        reason = escape(letter.reason)
        table.add_row(str(letter.id), died, letter.meant_for, task, reason, letter.handled)
    if letters:
        Console(width=None if sys.stdout.isatty() else _PIPE).print(table)
    else:
        click.echo("There are none.", err=True)


@dead.command()
@click.argument("number", type=int)
def show(number: int) -> None:
    """Show all of the dead letter NUMBER."""
    from gateway.api import serializers
    from gateway.orchestration import dead_letters

    with opened() as gateway, gateway.database.reading() as session:
        letter = dead_letters.find(session, number)
    click.echo(json.dumps(serializers.dead_letter(letter), indent=1))


@dead.command()
@click.argument("numbers", type=int, nargs=-1, required=True)
def replay(numbers: tuple[int, ...]) -> None:
    """Do the steps that were left of the runs of the dead letters NUMBERS, in new runs."""
    from gateway.orchestration import dead_letters

    with opened() as gateway:
        for number in numbers:
            with gateway.database.writing() as session:
                run = dead_letters.replay(gateway, session, number, BY)
            click.echo(f"{number}: task {run.task_id} runs again ({', '.join(run.steps)}).")


@dead.command()
@click.argument("numbers", type=int, nargs=-1, required=True)
def drop(numbers: tuple[int, ...]) -> None:
    """Do nothing about the dead letters NUMBERS, and list them no more."""
    from gateway.orchestration import dead_letters

    with opened() as gateway:
        for number in numbers:
            with gateway.database.writing() as session:
                dead_letters.drop(session, number, BY)
            click.echo(f"{number}: dropped.")
