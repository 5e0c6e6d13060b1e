"""How long do the external programs take that the science starts?

stdpipe starts them through ``os.system``, we through ``subprocess.run``; in a worker both are
replaced by themselves with a clock.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from skyrelay import episodes

#: What is told apart, by the names of the executables; all others are one.
KNOWN = {
    "source-extractor": "sextractor",
    "sextractor": "sextractor",
    "sex": "sextractor",
    "scamp": "scamp",
    "swarp": "swarp",
    "psfex": "psfex",
    "solve-field": "solve-field",
    "hotpants": "hotpants",
}
OTHER = "other"


def watch() -> None:
    """From now on, note what this process runs and waits for."""
    os.system = _clocked(os.system, lambda code: code != 0)
    subprocess.run = _clocked(subprocess.run, lambda done: done.returncode != 0)


def name_of(command: str | Sequence[object]) -> str:
    """What a command, as a line of the shell or as a list, is counted as."""
    words = command.split() if isinstance(command, str) else [str(word) for word in command]
    return KNOWN.get(Path(words[0]).name.lower(), OTHER) if words else OTHER


def _clocked(run: Callable[..., Any], failed: Callable[[Any], bool]) -> Callable[..., Any]:
    @wraps(run)
    def clocked(command: Any, *arguments: Any, **options: Any) -> Any:
        with episodes.timed(episodes.Kind.PROGRAM, name_of(command)) as course:
            done = run(command, *arguments, **options)
            if failed(done):
                course.ending = episodes.Ending.FAILED
            return done

    return clocked
