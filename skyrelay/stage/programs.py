"""Which external programs does an attempt start, and how long do they take?

stdpipe starts them through ``os.system``, we through ``subprocess.run``; in a worker both are
replaced by themselves with a clock.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from skyrelay import episodes
from skyrelay.programs import Program, program_of, version_of
from skyrelay.settings import Settings

#: What a program that is not known is counted as.
OTHER = "other"
#: Since the present attempt began: the executables that were started, by their program.
_started: dict[Program, str] = {}


def watch(settings: Settings) -> None:
    """From now on, note what this process runs and waits for."""
    os.system = _clocked(os.system, lambda code: code != 0, settings)
    subprocess.run = _clocked(subprocess.run, lambda done: done.returncode != 0, settings)


def forget() -> None:
    """An attempt begins: what was started before was not for it."""
    _started.clear()


def versions() -> dict[str, str]:
    """Of the programs that were started for the present attempt, by their names."""
    return {program.name: version_of(path, program) for program, path in _started.items()}


def executable_of(command: str | Sequence[object]) -> str:
    """The program in a command, which is a line of the shell or a list; empty if there is none."""
    if not isinstance(command, str):
        return str(command[0]) if command else ""
    try:
        return (shlex.split(command) or [""])[0]
    except ValueError:  # A quotation that does not end: the shell will say so.
        return (command.split() or [""])[0]


def _clocked(
    run: Callable[..., Any], failed: Callable[[Any], bool], settings: Settings
) -> Callable[..., Any]:
    @wraps(run)
    def clocked(command: Any, *arguments: Any, **options: Any) -> Any:
        executable = executable_of(command)
        program = program_of(executable, settings)
        if program is not None:
            _started[program] = executable
        name = program.name if program else OTHER
        with episodes.timed(episodes.Kind.PROGRAM, name) as course:
            done = run(command, *arguments, **options)
            if failed(done):
                course.ending = episodes.Ending.FAILED
            return done

    return clocked
