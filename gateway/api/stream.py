"""How does a client follow a task as it is processed: server-sent events, no polling?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from gateway.api.access import get_task
from gateway.api.auth import feed, gateway
from gateway.api.errors import detail
from gateway.feed import GONE, Feed, TooManyWatchers, Watcher
from gateway.openapi import documented, media
from gateway.permissions import Right

blueprint = Blueprint("stream", __name__)

#: Seconds after which a silent stream says that it still lives, so that dead clients are noticed.
_SILENCE = 15.0
#: Longest wait, in seconds, before the end of this process is noticed.
_TICK = 1.0
#: Seconds after which a stream ends: its client connects anew, and its rights are looked at again.
_LONGEST = 600.0
_RETRY_AFTER = "5"


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
    try:
        watcher = stack.enter_context(feed().watching(task_id))
    except TooManyWatchers:
        error = detail(503, "Too many streams are open: ask for state/ now and then instead.")
        error.headers["Retry-After"] = _RETRY_AFTER
        raise error from None
    response = Response(_events(feed(), watcher, stack), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    # A client that is gone before the first event must not leave its watcher.
    response.call_on_close(stack.close)
    return response


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
