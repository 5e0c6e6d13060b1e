"""What do the log lines of a process look like, and whose are they?

One line per event. Everything that is said while an attempt is in hand carries its task, run,
stage and attempt, as text or as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from skyrelay.messages import Message, Place
from skyrelay.settings import Settings

_about: ContextVar[dict[str, object]] = ContextVar("about", default={})  # noqa: B039

#: What the libraries say at these levels is said by us, once and shorter.
_QUIET = {
    "amqp": logging.WARNING,
    "botocore": logging.WARNING,
    "kombu": logging.ERROR,
    "nameko": logging.WARNING,
    "pika": logging.CRITICAL,
}

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure(settings: Settings) -> None:
    """Send the log of this process to its error output, as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.skyrelay_log_format == "json" else _Text())
    logging.basicConfig(level=settings.skyrelay_log_level, handlers=[handler], force=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


@contextmanager
def about(
    message: Message | Place | None = None,
    *,
    task: int | None = None,
    run: UUID | str | None = None,
    stage: str | None = None,
    attempt: int | None = None,
) -> Iterator[None]:
    """Lines that are logged inside this context are about what ``message`` is about, or about this.

    What is not given stays what it is outside of the context.
    """
    fields = {
        "task": task or getattr(message, "task", None),
        "run": run or getattr(message, "run", None),
        "stage": stage or getattr(message, "step", None),
        "attempt": attempt or getattr(message, "attempt", None),
    }
    known = {
        name: str(value) if name == "run" else value for name, value in fields.items() if value
    }
    token = _about.set({**_about.get(), **known})
    try:
        yield
    finally:
        _about.reset(token)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
    return {**_about.get(), **own}


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_when(record)} {record.levelname} {record.name}: {record.getMessage()}"
        for name, value in _fields(record).items():
            line += f" {name}={value}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": _when(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)
