"""How does a client follow a task as it is processed: server-sent events, no polling?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import TypeVar

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from gateway.api.access import get_task
from gateway.api.auth import current_user
from gateway.api.errors import try_again
from gateway.current import feed, gateway
from gateway.feed import GONE, Feed, OwnerWatcher, TooManyWatchers, Watcher
from gateway.models import now
from gateway.openapi import documented, media
from gateway.permissions import Right

blueprint = Blueprint("stream", __name__)

#: Seconds after which a silent stream says that it still lives, so that dead clients are noticed.
_SILENCE = 15.0
#: Longest wait, in seconds, before the end of this process is noticed.
_TICK = 1.0
#: Seconds after which a stream ends: its client connects anew, and its rights are looked at again.
_LONGEST = 600.0
_RETRY_AFTER = 5

_Watcher = TypeVar("_Watcher", Watcher, OwnerWatcher)


@blueprint.get("/tasks/<int:task_id>/events/")
@documented(
    {200: media("text/event-stream", example='event: state\ndata: {"id": 42, "state": ...}\n\n')}
)
def follow(task_id: int) -> ResponseReturnValue:
    """Every change of the task's state, as events ``state`` with the JSON of ``state/``.

    The stream ends when the task is deleted; clients of another interruption connect again.
    """
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    stack = ExitStack()
    watcher = _admitted(stack, feed().watching(task_id))
    return _streamed(_events(feed(), watcher, stack), stack)


@blueprint.get("/events/")
@documented(
    {200: media("text/event-stream", example='id: 1\nevent: state\ndata: {"id": 42}\n\n')},
    headers=("Last-Event-ID",),
)
def follow_own() -> ResponseReturnValue:
    """Every change of the state of any of the user's own tasks.

    Events ``state`` have the JSON of the task's ``state/``; events ``gone`` the number of a task
    that is deleted. First comes what runs now, and what was changed after the moment that a client
    brings with it as ``Last-Event-ID``, as it does by itself when it connects again.
    """
    since = _since(request.headers.get("Last-Event-ID", ""))
    stack = ExitStack()
    watcher = _admitted(stack, feed().watching_tasks_of(current_user().id, since))
    return _streamed(_events_of_owner(feed(), watcher, stack), stack)


def _since(text: str) -> datetime:
    """The moment that the id of an event stands for; now for what is none."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return now()


def _admitted(stack: ExitStack, watching: AbstractContextManager[_Watcher]) -> _Watcher:
    try:
        return stack.enter_context(watching)
    except TooManyWatchers:
        sentence = "Too many streams are open: ask for state/ now and then instead."
        raise try_again(sentence, _RETRY_AFTER) from None


def _streamed(events: Iterator[str], stack: ExitStack) -> Response:
    response = Response(events, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    # A client that is gone before the first event must not leave its watcher.
    response.call_on_close(stack.close)
    return response


def _events_of_owner(source: Feed, watcher: OwnerWatcher, stack: ExitStack) -> Iterator[str]:
    silent, end = 0.0, time.monotonic() + _LONGEST
    with stack:
        # Whoever listens knows now that nothing will be missed.
        yield ": listening\n\n"
        while source.serving() and time.monotonic() < end:
            fresh = watcher.get(_TICK)
            silent = 0.0 if fresh else silent + _TICK
            if silent >= _SILENCE:
                silent = 0.0
                yield ": still here\n\n"
            for task, state in fresh.items():
                kind, content = ("gone", {"id": task}) if state is GONE else ("state", state)
                moment = watcher.since.timestamp()
                yield f"id: {moment:.3f}\nevent: {kind}\ndata: {json.dumps(content)}\n\n"


def _events(source: Feed, watcher: Watcher, stack: ExitStack) -> Iterator[str]:
    silent, end = 0.0, time.monotonic() + _LONGEST
    with stack:
        while source.serving() and time.monotonic() < end:
            state = watcher.get(_TICK)
            if state is None:
                silent += _TICK
                if silent >= _SILENCE:
                    silent = 0.0
                    yield ": still here\n\n"
                continue
            silent = 0.0
            if state is GONE:
                yield "event: gone\ndata: {}\n\n"
                return
            yield f"event: state\ndata: {json.dumps(state)}\n\n"
