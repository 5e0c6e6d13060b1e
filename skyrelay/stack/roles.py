"""Which processes make up Skyrelay, and how is each of them started?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from skyrelay.stack.ports import LOOPBACK
from skyrelay.stages import SERVICES, service_module


@dataclass(frozen=True, kw_only=True)
class Role:
    """One process of the stack.

    Attributes
    ----------
    name : str
        What it is called in logs and listings (``photometry-2``).
    command : tuple of str
        Its argument list.
    environment : mapping
        What it needs in its environment beyond what all share.
    port : int or None
        Loopback port on which it answers HTTP requests.
    ready_path : str
        What answers 200 there as soon as it takes work.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int | None = None
    ready_path: str = "/healthz"

    @property
    def ready_url(self) -> str | None:
        return None if self.port is None else f"http://{LOOPBACK}:{self.port}{self.ready_path}"


def web(port: int) -> Role:
    """The gateway's HTTP server."""
    command = _python("gateway", "web", "--bind", f"{LOOPBACK}:{port}")
    return Role(name="web", command=command, environment={}, port=port)


def events(port: int) -> Role:
    """The gateway's consumer of stage events."""
    return Role(
        name="events",
        command=_python("gateway", "events"),
        environment=_health_at(port),
        port=port,
        ready_path="/readyz",
    )


def replica(service: str, number: int, port: int) -> Role:
    """Replica `number` of the stage service `service`."""
    return Role(
        name=f"{service}-{number}",
        command=_python("skyrelay.stage.replica", service_module(service)),
        environment=_health_at(port),
        port=port,
        # A replica is well before its workers have imported what the science needs.
        ready_path="/readyz",
    )


def _health_at(port: int) -> dict[str, str]:
    return {"SKYRELAY_HEALTH_PORT": str(port), "SKYRELAY_HEALTH_HOST": LOOPBACK}


def parse_replicas(text: str) -> dict[str, int]:
    """The number of replicas of each service from ``inspect=2 photometry=1``; 1 where not named.

    Raises
    ------
    ValueError
        In one sentence: an unknown service, or not a number of at least 0.
    """
    replicas = dict.fromkeys(SERVICES, 1)
    for item in text.replace(",", " ").split():
        service, _, number = item.partition("=")
        if service not in replicas:
            raise ValueError(f"There is no service {service!r}; there are {', '.join(SERVICES)}.")
        if not number.isdecimal():
            raise ValueError(f"{item!r} is not of the form {service}=2.")
        replicas[service] = int(number)
    return replicas


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)
