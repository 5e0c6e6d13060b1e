"""How long does S3 take, for what, and how does it end?

Seen where boto3 itself tells of it: so transfers in parts, in threads of boto3's, are seen, too.
"""

from __future__ import annotations

import os
import time
from typing import Any

from skyrelay import episodes
from skyrelay.episodes import Ending, Episode, Kind

#: Under this name the context of a request has its beginning: by the clock, since 1970, bytes sent.
_BEGAN = "skyrelay"
#: Answers that say how things are, and are no failures: it is not there, somebody was faster.
_ANSWERS = (404, 409, 412)


def watch(client: Any) -> None:
    """Note every request of this client."""
    client.meta.events.register("before-call.s3", _before)
    client.meta.events.register("after-call.s3", _after)
    client.meta.events.register("after-call-error.s3", _failed)


def _before(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_BEGAN] = time.monotonic(), time.time(), _size(params.get("body"))


def _after(http_response: Any, context: dict[str, Any], event_name: str, **_: Any) -> None:
    status = http_response.status_code
    good = status < 400 or status in _ANSWERS
    received = int(http_response.headers.get("content-length") or 0)
    _note(context, event_name, Ending.OK if good else Ending.FAILED, received)


def _failed(context: dict[str, Any], event_name: str, **_: Any) -> None:
    _note(context, event_name, Ending.FAILED, 0)


def _note(context: dict[str, Any], event: str, ending: Ending, received: int) -> None:
    if _BEGAN not in context:
        return
    clock, began, sent = context.pop(_BEGAN)
    operation = event.rpartition(".")[2]
    seconds = time.monotonic() - clock
    size = received if operation.startswith("Get") else sent
    episodes.note(Episode(Kind.STORE, operation, ending, began, seconds, size))


def _size(body: Any) -> int:
    """Bytes of what is sent: a part of a file, or a stream that boto3 has made of a text."""
    if body is None:
        return 0
    if hasattr(body, "__len__"):
        return len(body)
    here = int(body.tell())
    size = int(body.seek(0, os.SEEK_END)) - here
    body.seek(here)
    return size
