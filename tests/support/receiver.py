"""How does a test receive what webhooks send?"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from skyrelay.stack.ports import LOOPBACK


@dataclass(frozen=True)
class Call:
    """One request that has arrived."""

    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.content)
        return body


class Receiver:
    """A server that keeps what is posted to it, and answers with ``status``."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append(Call(dict(self.headers), content))
                self.send_response(receiver.status)
                self.send_header("Location", receiver.url)
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:
                """Nobody wants to read it."""

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self.server.server_address[1]}/hook?a=b"


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that is gone afterwards."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
