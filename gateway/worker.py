"""What does a client get whose request never reaches the application?

gunicorn refuses what is too long, or is no HTTP, by a page for people; clients of the API get the
same body as for all other errors.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from gateway.request_limits import HEADER_SIZE, HEADERS, REQUEST_LINE

_STATUSES: tuple[tuple[tuple[type[Exception], ...], int, str], ...] = (
    (
        (errors.LimitRequestLine,),
        HTTPStatus.REQUEST_URI_TOO_LONG,
        f"The address is too long: method and address have at most {REQUEST_LINE} bytes.",
    ),
    (
        (errors.LimitRequestHeaders,),
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"At most {HEADERS} headers of {HEADER_SIZE} bytes each are taken.",
    ),
    # What our own answers do wrong is a kind of these for gunicorn, but no fault of the client.
    ((errors.InvalidResponseHeader, errors.InvalidResponseHeaderName), 0, ""),
    (
        (
            errors.InvalidRequestLine,
            errors.InvalidRequestMethod,
            errors.InvalidHTTPVersion,
            errors.InvalidHeader,
            errors.InvalidHeaderName,
            errors.ObsoleteFolding,
        ),
        HTTPStatus.BAD_REQUEST,
        "This is no HTTP request.",
    ),
)


class Worker(ThreadWorker):
    """A web process with threads."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Called by gunicorn for a request that it cannot hand on."""
        for kinds, status, sentence in _STATUSES:
            if status and isinstance(exc, kinds):
                self.log.warning("a request was refused with %d: %s", status, exc)
                _answer(client, status, sentence)
                return
            if isinstance(exc, kinds):
                break
        super().handle_error(req, client, addr, exc)


def _answer(client: Any, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    try:
        write_nonblock(client, head.encode("latin-1") + body)
    except OSError:
        pass  # It has gone.
