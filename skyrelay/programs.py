"""Which external programs does the science start, and of which version is one that is here?"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from skyrelay.settings import Settings

#: Seconds that a program may take to say its version.
PATIENCE = 10.0
_VERSION = re.compile(r"\d+(?:\.\d+)+[\w-]*")

#: With what a shell, or the loader of programs, ends where it cannot run one.
_CANNOT_RUN = (126, 127)
#: What the loader says, and ends with 1, where a library is older than the program.
_TOO_NEW = re.compile(r"version `.+' not found \(required by")


@dataclass(frozen=True)
class Program:
    """A program under the name by which metrics and logs know it.

    ``setting`` names its path, ``executables`` are looked for where it does not, and ``asked`` has
    it say its version. One that is not ``packaged`` need not be there.
    """

    name: str
    setting: str
    executables: tuple[str, ...]
    asked: tuple[str, ...] = ("-v",)
    packaged: bool = True


PROGRAMS = (
    Program("sextractor", "stdpipe_sextractor", ("source-extractor", "sex", "sextractor")),
    Program("scamp", "stdpipe_scamp", ("scamp",)),
    Program("psfex", "stdpipe_psfex", ("psfex",)),
    Program("swarp", "stdpipe_swarp", ("SWarp", "swarp")),
    Program("solve-field", "stdpipe_solve_field", ("solve-field",), ("--version",)),
    # Without arguments it says what it is and how it is used.
    Program("hotpants", "stdpipe_hotpants", ("hotpants",), (), packaged=False),
)


def program_of(executable: str, settings: Settings) -> Program | None:
    """The known program that an executable is, by its name or as the settings name its path."""
    name = Path(executable).name.lower()
    for program in PROGRAMS:
        if executable == getattr(settings, program.setting):
            return program
        if name in (each.lower() for each in program.executables):
            return program
    return None


def told_version(path: str, program: Program) -> str:
    """What the executable says when it is asked; empty if it says nothing.

    Raises
    ------
    OSError, subprocess.TimeoutExpired
        If it does not run, or is ended by a signal.
    """
    # A process like any other, not one that the science waits for: see `skyrelay.stage.programs`.
    with subprocess.Popen(
        [path, *program.asked],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as asked:
        try:
            said, _ = asked.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            asked.kill()
            raise
    lines = said.strip().splitlines()
    if asked.returncode in _CANNOT_RUN or asked.returncode < 0 or _TOO_NEW.search(said):
        raise OSError(lines[-1] if lines else f"it ended with {asked.returncode}")
    return next((line.strip() for line in lines if _VERSION.search(line)), "")


def version_of(executable: str, program: Program) -> str:
    """Its version as a number; what its file's checksum begins with, if it says none."""
    path = shutil.which(executable)
    if path is None:
        return "gone"
    return _version_of_file(os.path.realpath(path), os.stat(path).st_mtime_ns, program)


@lru_cache(maxsize=100)
def _version_of_file(path: str, changed: int, program: Program) -> str:
    try:
        found = _VERSION.search(told_version(path, program))
    except (OSError, subprocess.TimeoutExpired):
        found = None
    if found:
        return found[0]
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
