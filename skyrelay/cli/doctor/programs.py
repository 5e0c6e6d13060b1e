"""Are the external programs here, where stages need them?"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec

from skyrelay.cli.doctor.finding import Finding, Health
from skyrelay.programs import PROGRAMS, Program, told_version
from skyrelay.settings import Settings


def programs(settings: Settings) -> Iterator[Finding]:
    """Each with its version and path.

    Where the packages of the science are, stages run, and a program that is missing or does not run
    is to be mended; elsewhere it is only told of.
    """
    stages_run_here = find_spec("stdpipe") is not None
    for program in PROGRAMS:
        given: str | None = getattr(settings, program.setting)
        name = program.executables[0]
        path = given if given else next(filter(None, map(shutil.which, program.executables)), None)
        wrong = Health.BAD if given or stages_run_here else Health.NOTE
        if path is not None and shutil.which(path) is not None:
            yield _asked(path, name, program, wrong)
        elif given or program.packaged:
            setting = program.setting.upper()
            said = f"not found; where stages run, install it or name it in {setting}"
            yield Finding(wrong, name, said)


def _asked(path: str, name: str, program: Program, wrong: Health) -> Finding:
    """What a program says that is here; ``wrong``: how bad it is if it does not run."""
    try:
        version = told_version(path, program)[:80] or "of unknown version"
    except (OSError, subprocess.TimeoutExpired) as error:
        setting = program.setting.upper()
        said = f"it does not run ({error}): {path}; install it anew, or name another in {setting}"
        return Finding(wrong, name, said)
    return Finding(Health.GOOD, name, f"{version} ({path})")
