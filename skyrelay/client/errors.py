"""What may go wrong between a program and the server?"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class ClientError(Exception):
    """Something that was asked of the server did not happen."""


class ServerAway(ClientError):
    """The server does not answer, or cannot work just now."""


class RequestRefused(ClientError):
    """The server refused; ``status`` is the HTTP status, ``body`` what it said."""

    def __init__(
        self, status: int, body: Any, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(sentence_of(status, body))
        self.status = status
        self.body = body
        self.headers = headers


class NotAuthenticated(RequestRefused):
    """The token, or the user name and password, are not accepted."""


class Forbidden(RequestRefused):
    """It belongs to somebody else."""


class NotFound(RequestRefused):
    """There is no such task or file."""


class Conflict(RequestRefused):
    """Not while the task is being processed."""


class StillRunning(ClientError):
    """The time to wait is over, and the task is still being processed."""


def sentence_of(status: int, body: Any) -> str:
    """What the server said, in one line."""
    if not isinstance(body, dict):
        return f"HTTP {status}: {body}"
    said = [str(body[key]) for key in ("error", "detail", "advice") if key in body]
    said += [
        f"{name}: {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in body.items()
        if name not in ("error", "detail", "advice")
    ]
    return "; ".join(said)
