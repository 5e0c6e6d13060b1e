"""`make up`: the whole stack in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from skyrelay.stack import roles
from skyrelay.stack.stack import Stack, settings_given

console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("var"), show_default=True)
@click.option("--replicas", default="", metavar="'inspect=2 …'", help="how many of each service")
def up(folder: Path, replicas: str) -> None:
    """Run all of Skyrelay on this machine until Ctrl-C."""
    try:
        numbers = roles.parse_replicas(replicas)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    stack = Stack(folder, replicas=numbers, environment=settings_given(), say=_say)
    _interrupt_on_signals()
    running = False
    try:
        with stack:
            running = True
            _print_addresses(stack)
            threading.Event().wait()
    except KeyboardInterrupt:
        _say("Everything has been stopped.")
        # To be stopped is how it ends; not so while it was still starting.
        sys.exit(0 if running else 130)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None


def _interrupt_on_signals() -> None:
    """The first SIGINT or SIGTERM interrupts us; a second one ends us at once, and all with us."""
    interrupted = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            os._exit(128 + number)
        interrupted.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)


def _say(sentence: str) -> None:
    console.print(f"==> {sentence}", markup=False)


def _print_addresses(stack: Stack) -> None:
    first = stack.administrator
    console.print()
    console.print(f"  Skyrelay     {stack.base_url}", markup=False)
    console.print(f"  first login  {first.name} / {first.password}", markup=False)
    console.print(f"  token        {first.token}", markup=False)
    console.print(f"  tasks, logs  {stack.folder}/tasks, {stack.folder}/log", markup=False)
    console.print(f"  for scripts  {stack.description}", markup=False)
    console.print()
    _say("Running. Ctrl-C stops everything; pressed twice, at once.")


if __name__ == "__main__":
    up()
