"""Who may log in to a stack that has just been started for the first time?"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "admin"

_USER = (sys.executable, "-m", "skyrelay.cli", "user")


@dataclass(frozen=True)
class Administrator:
    """The first user of a stack; `password` is as it was made, the user may have changed it."""

    name: str
    password: str
    token: str


def administrator(path: Path, environment: Mapping[str, str], folder: Path) -> Administrator:
    """The stack's administrator, made at the first call and remembered in the file `path`.

    Parameters
    ----------
    path : Path
        Where name, password and token are kept, readable by their owner only.
    environment : mapping
        Environment of the command line, which names the database.
    folder : Path
        Working directory of the command line.

    Raises
    ------
    RuntimeError
        The command line refused; says why.
    """
    # The password is written down first: an interruption must not lock everybody out.
    if not path.exists():
        _write(path, {"name": NAME, "password": secrets.token_urlsafe(12)})
    known = json.loads(path.read_text())
    token = _run(["token", known["name"]], environment, folder)
    if token.returncode != 0:
        # There is no such user: the database is new.
        create = ["create", known["name"], "--staff", "--password-stdin"]
        _checked(_run(create, environment, folder, known["password"]))
        token = _checked(_run(["token", known["name"]], environment, folder))
    return Administrator(known["name"], known["password"], token.stdout.strip())


def _write(path: Path, content: Mapping[str, str]) -> None:
    """Whole or not at all, and readable by nobody else."""
    new = path.with_name(f".{path.name}.new")
    new.touch(0o600)
    new.write_text(json.dumps(content))
    new.replace(path)


def _checked(answer: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if answer.returncode != 0:
        reason = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-1:]
        raise RuntimeError(f"The first user cannot be made: {' '.join(reason)}")
    return answer


def _run(
    arguments: list[str], environment: Mapping[str, str], folder: Path, password: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_USER, *arguments],
        env=environment,
        cwd=folder,
        input=password,
        capture_output=True,
        text=True,
        check=False,
    )
