"""How does a test read the traces of processes? With a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from skyrelay.stack.ports import LOOPBACK


@dataclass(frozen=True)
class Span:
    """What a collector is told of one span."""

    process: str
    trace: UUID
    id: str
    parent: str
    name: str
    attributes: dict[str, Any]
    seconds: float
    links: list[str]


class Collector:
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:
                """Nobody wants to read it."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.address = f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def of(self, run: str) -> dict[str, Span]:
        """The spans in the trace of a run, by name."""
        return {span.name: span for span in self.spans if span.trace == UUID(run)}

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    made = Collector()
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        named = {item.key: item.value.string_value for item in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            values = {item.key: item.value for item in span.attributes}
            yield Span(
                process=named["service.name"],
                trace=UUID(bytes=span.trace_id),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                name=span.name,
                attributes={
                    key: getattr(value, value.WhichOneof("value")) for key, value in values.items()
                },
                seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                links=[link.trace_id.hex() for link in span.links],
            )
