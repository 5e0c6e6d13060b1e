"""Who may log in to a stack that has just been started for the first time?"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    if path.exists():
        known = json.loads(path.read_text())
        # The database may be another than it was, and tokens can be withdrawn.
        token = _run(["token", known["name"]], environment, folder)
        if token.returncode == 0:
            return Administrator(known["name"], known["password"], token.stdout.strip())
    password = secrets.token_urlsafe(12)
    create = ["create", NAME, "--staff", "--password-stdin"]
    for arguments in (create, ["token", NAME]):
        answer = _run(arguments, environment, folder, password)
        if answer.returncode != 0:
            reason = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-1:]
            raise RuntimeError(f"The first user cannot be made: {' '.join(reason)}")
    made = Administrator(NAME, password, answer.stdout.strip())
    path.touch(0o600)
    path.write_text(json.dumps(asdict(made)))
    return made


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
