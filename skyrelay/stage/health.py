"""How does a supervisor see that a replica is well, and how it fares?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import eventlet
import eventlet.wsgi

from skyrelay import exposition


def serve(host: str, port: int, checks: Mapping[str, Callable[[], Mapping[str, bool]]]) -> None:
    """Answer HTTP requests for ever, in this green thread.

    Parameters
    ----------
    checks : mapping of callable
        For each path, what is to be true. The answer is 200 if all of it is, else 503; either way
        it says what is and what is not. Beside them, ``/metrics`` is what Prometheus reads.
    """

    def application(
        environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == exposition.PATH:
            start_response("200 OK", [("Content-Type", exposition.CONTENT_TYPE)])
            return [exposition.page()]
        check = checks.get(environ["PATH_INFO"])
        found = {"found": False} if check is None else dict(check())
        status = "404 Not Found" if check is None else "200 OK"
        if check is not None and not all(found.values()):
            status = "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(found).encode() + b"\n"]

    listener = eventlet.listen((host, port))
    eventlet.wsgi.server(listener, application, log_output=False)
