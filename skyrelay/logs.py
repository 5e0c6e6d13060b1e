"""What do the log lines of a process look like, and whose are they?

One line per event, whoever says it: libraries, warnings and what ends a process, too. Everything
that is said while an attempt is in hand carries its task, run, stage and attempt, as text or as
JSON; in a thread of its own if its work was `carried` there.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, TextIO, TypeVar
from uuid import UUID

from skyrelay.messages import Message, Place
from skyrelay.settings import Settings

_Found = TypeVar("_Found")
_log = logging.getLogger(__name__)

#: What lines are about outside of every context.
_NOTHING: dict[str, object] = {}
_about: ContextVar[dict[str, object]] = ContextVar("about", default=_NOTHING)

#: What the libraries say at these levels is said by us, once and shorter.
_QUIET = {
    "amqp": logging.WARNING,
    "botocore": logging.WARNING,
    "kombu": logging.ERROR,
    "nameko": logging.WARNING,
    "pika": logging.CRITICAL,
}

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the log of this process to its error output, or elsewhere, as the settings say."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if settings.skyrelay_log_format == "json" else _Text())
    logging.basicConfig(level=settings.skyrelay_log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _last_words
    threading.excepthook = lambda end: _last_words(end.exc_type, end.exc_value, end.exc_traceback)
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
    token = _about.set({**_about.get(), **_known(fields)})
    try:
        yield
    finally:
        _about.reset(token)


def know(
    *, task: int | None = None, run: UUID | str | None = None, user: str | None = None
) -> None:
    """From here on lines are about this, too, until the present context of `about` ends.

    For what is not known yet where a context begins. Outside of every context nothing is known.
    """
    if _about.get() is not _NOTHING:
        _about.set({**_about.get(), **_known({"task": task, "run": run, "user": user})})


def subject() -> Mapping[str, object]:
    """What lines are about that are logged here."""
    return _about.get()


def carried(work: Callable[..., _Found]) -> Callable[..., _Found]:
    """The same work, for a thread of its own: its lines are about what lines are about here."""
    return partial(copy_context().run, work)


def _known(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: str(value) if name == "run" else value for name, value in fields.items() if value}


def _last_words(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    """What nobody has caught ends a process or a thread: that is a line, too."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), traceback)
    else:
        _log.critical("unhandled exception", exc_info=(kind, error or kind(), traceback))


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
