"""A sky service of our own: one HTTP server on loopback that speaks what the world's services do.

    with SkyServer(heavens) as server:
        settings = server.settings(tmp_path)
        server.fail("vizier", Fault.CUT, times=1)

Every service has a path of its own (``/vizier``) and a mirror (``/mirror/vizier``), which fails
separately.
"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from werkzeug.formparser import parse_form_data

from skyrelay.settings import Settings
from tests.sky import bodies, catalogues, images, resolvers
from tests.sky.heavens import Heavens
from tests.sky.messages import Answer, Question

SERVICES: dict[str, Callable[[Heavens, Question], Answer]] = {
    "vizier": catalogues.vizier,
    "xmatch": catalogues.xmatch,
    "skybot": bodies.skybot,
    "sesame": resolvers.sesame,
    "transients": resolvers.fink,
    "hips2fits": images.hips2fits,
    "ps1": images.pan_starrs,
    "legacy_survey": images.legacy_survey,
}

_MIRROR = "mirror/"


class Fault(Enum):
    """What can be wrong with a service; each as a client sees it."""

    SLOW = "the body comes byte by byte, for ever"
    HANGS = "nothing comes at all"
    ERROR = "500"
    BUSY = "503"
    REFUSED = "400"
    ABSENT = "404"
    CUT = "the connection ends in the middle of the body"
    SHORT = "the body ends too early, and nothing says how long it should be"
    GARBAGE = "bytes that mean nothing"
    EMPTY = "no body"
    PAGE = "a page for people, with status 200"


@dataclass
class _Plan:
    fault: Fault
    times: float


@dataclass
class SkyServer:
    """The server, while its context lasts.

    Attributes
    ----------
    asked : list of (service, Question)
        All requests, in the order of their arrival; a mirror's service is ``mirror/<name>``.
    """

    heavens: Heavens
    asked: list[tuple[str, Question]] = field(default_factory=list)
    _plans: dict[str, _Plan] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> SkyServer:
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.sky = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def url(self, service: str) -> str:
        """Address of a service, or of its mirror (``mirror/<name>``)."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/{service}"

    def settings(self, folder: Path, **changes: Any) -> Settings:
        """Settings of an installation that knows this sky only, with its data in ``folder``."""
        addresses = {f"skyrelay_{name}_urls": self.url(name) for name in SERVICES}
        values: dict[str, Any] = {
            "data_path": folder / "data",
            "tasks_path": folder / "tasks",
            "skyrelay_ask_again": (0.0, 0.0),
        }
        return Settings(_env_file=None, **addresses | values | changes)

    def fail(self, service: str, fault: Fault, times: float = float("inf")) -> None:
        """Let a service fail from now on, or only the next ``times``."""
        with self._lock:
            self._plans[service] = _Plan(fault, times)

    def mend(self) -> None:
        """All services work again; nothing was ever asked."""
        with self._lock:
            self._plans.clear()
            self.asked.clear()

    def count(self) -> Counter[str]:
        """How often each service was asked."""
        with self._lock:
            return Counter(service for service, _ in self.asked)

    def take_fault(self, service: str, question: Question) -> Fault | None:
        """Note a request; the fault that it shall meet."""
        with self._lock:
            self.asked.append((service, question))
            plan = self._plans.get(service)
            if plan is None or plan.times <= 0:
                return None
            plan.times -= 1
            return plan.fault

    def wait_for_the_end(self, seconds: float) -> bool:
        """Whether the server is closed within so many seconds."""
        return self._over.wait(seconds)


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
    sky: SkyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def _serve(self, body: bytes) -> None:
        service, question = self._understood(body)
        fault = self.server.sky.take_fault(service, question)
        name = service.removeprefix(_MIRROR)
        if name not in SERVICES:
            return self._send(Answer(b"no such service", "text/plain", 404))
        if fault in _STATUS:
            return self._send(Answer(b"sorry", "text/plain", _STATUS[fault]))
        if fault is Fault.HANGS:
            self.server.sky.wait_for_the_end(60)
            return None
        answer = SERVICES[name](self.server.sky.heavens, question)
        if fault is None:
            return self._send(answer)
        return self._spoil(answer, fault)

    def _understood(self, body: bytes) -> tuple[str, Question]:
        parts = urlsplit(self.path)
        path = parts.path.lstrip("/")
        prefix = _MIRROR if path.startswith(_MIRROR) else ""
        name, _, rest = path.removeprefix(prefix).partition("/")
        query = {key: values[-1] for key, values in parse_qs(parts.query, True).items()}
        form, files = self._form(body)
        return prefix + name, Question(rest, unquote(parts.query), query, body, form, files)

    def _form(self, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/form-data"):
            return {}, {}
        environ = {
            "wsgi.input": io.BytesIO(body),
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body)),
            "REQUEST_METHOD": "POST",
        }
        _, form, files = parse_form_data(environ, stream_factory=_in_memory)
        return dict(form.items()), {name: file.read() for name, file in files.items()}

    def _send(self, answer: Answer, *, length: int | None = None) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if length != -1:
            self.send_header("Content-Length", str(length or len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _spoil(self, answer: Answer, fault: Fault) -> None:
        body, kind = answer.body, answer.kind
        half = body[: len(body) // 2]
        if fault is Fault.CUT:
            self._send(Answer(half, kind), length=len(body))
        elif fault is Fault.SHORT:
            self._send(Answer(half, kind), length=-1)
        elif fault is Fault.GARBAGE:
            self._send(Answer(bytes(range(256)) * 20, kind))
        elif fault is Fault.EMPTY:
            self._send(Answer(b"", kind))
        elif fault is Fault.PAGE:
            self._send(Answer(b"<!DOCTYPE html><html><body>Maintenance</body></html>", "text/html"))
        elif fault is Fault.SLOW:
            self._drip(answer)

    def _drip(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        for at in range(len(answer.body)):
            self.wfile.write(answer.body[at : at + 1])
            self.wfile.flush()
            if self.server.sky.wait_for_the_end(0.05):
                return


def _in_memory(*_: object, **__: object) -> io.BytesIO:
    return io.BytesIO()


_STATUS = {Fault.ERROR: 500, Fault.BUSY: 503, Fault.REFUSED: 400, Fault.ABSENT: 404}
