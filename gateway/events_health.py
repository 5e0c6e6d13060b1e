"""How does a supervisor see that the process of the events is well, and how it fares?

It serves no API, so it has a small server of its own for ``/livez``, ``/healthz``, ``/readyz``
and ``/metrics``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from skyrelay import exposition

#: What is to be true, by path.
Checks = Mapping[str, Callable[[], Mapping[str, bool]]]


def serve(host: str, port: int, checks: Checks) -> ThreadingHTTPServer:
    """Answer in threads of this process until the server's `shutdown` is called.

    The answer is 200 if all that is to be true is true, else 503; it says what is and what is not.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == exposition.PATH:
                self._answer(200, exposition.CONTENT_TYPE, exposition.page())
                return
            check = checks.get(self.path)
            found = {"found": False} if check is None else dict(check())
            status = 404 if check is None else 200 if all(found.values()) else 503
            self._answer(status, "application/json", json.dumps(found).encode() + b"\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:
            """Supervisors ask every few seconds; nobody wants to read it."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
