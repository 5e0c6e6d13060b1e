"""Which processes are measured? All of Skyrelay with the four idle legs, on a given broker."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.orchestration.relay.stages import STAGES
from skyrelay.stack import roles
from skyrelay.stack.stack import Stack

_COUNTED = "benchmarks.orchestration.counted"


@contextmanager
def installation(
    folder: Path,
    amqp_uri: str,
    *,
    database_url: str | None,
    replicas: Mapping[str, int],
    say: Callable[[str], None],
) -> Iterator[Stack]:
    """A stack of the gateway and of replicas of the legs, whose statements are counted."""
    environment = {"AMQP_URI": amqp_uri, "SKYRELAY_LOG_LEVEL": "INFO"}
    if database_url:
        environment["DATABASE_URL"] = database_url
    counts_of(folder).mkdir(parents=True, exist_ok=True)
    stack = Stack(
        folder,
        replicas=dict.fromkeys(roles.SERVICES, 0) | dict(replicas),
        environment=environment,
        adapt=lambda role: _counted(role, counts_of(folder)),
        say=say,
    )
    with stack:
        yield stack


def one_of_each() -> dict[str, int]:
    """One replica of each leg."""
    return {stage.service: 1 for stage in STAGES}


def counts_of(folder: Path) -> Path:
    """Where the gateway's processes count their statements."""
    return folder.resolve() / "statements"


def _counted(role: roles.Role, counts: Path) -> roles.Role:
    if "gateway" not in role.command:
        return role
    arguments = role.command[role.command.index("gateway") :]
    command = (sys.executable, "-m", _COUNTED, str(counts), *arguments)
    return dataclasses.replace(role, command=command)
