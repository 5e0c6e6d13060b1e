"""How does a span get the ids that are known beforehand, and, if it is kept, to the collector?

The only module that imports OpenTelemetry; see `skyrelay.tracing`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from skyrelay.tracing import HEADER

_Attributes = Mapping[str, str | int | float | bool | Sequence[str]]


class Place(NamedTuple):
    """A span in its trace; None: whatever is free.

    ``kept``: what somebody else has decided about it; None: it is decided here, by its trace.
    """

    trace: int | None
    span: int | None
    kept: bool | None = None


class Spans:
    """Sends the spans of this process that are kept to a collector, in a thread."""

    def __init__(self, collector: str, process: str) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"skyrelay-{process}"}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        # As OTEL_TRACES_SAMPLER says.
        self._sampler = self._provider.sampler = _ByRandomBits(self._provider.sampler)
        exporter = OTLPSpanExporter(f"{collector.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("skyrelay")

    def emit(
        self,
        name: str,
        place: Place,
        times: tuple[datetime, datetime],
        attributes: _Attributes,
        *,
        error: str = "",
        parent: Place | None = None,
        link: Place | None = None,
    ) -> None:
        """One span that is over; ``error``: why it is shown as one."""
        began, ended = (int(when.timestamp() * 1e9) for when in times)
        above = trace.INVALID_SPAN if parent is None else NonRecordingSpan(self._context(parent))
        self._ids.wanted = place
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(above),
            attributes=attributes,
            # Clocks of two machines may differ.
            start_time=min(began, ended),
            links=[Link(self._context(link))] if link is not None else [],
        )
        if error:
            span.set_status(trace.StatusCode.ERROR, error)
        span.end(ended)

    def keeps(self, run: int) -> bool:
        """Whether the trace of a run is kept; every process says the same."""
        found = self._sampler.should_sample(Context(), run, "run")
        return found.decision is Decision.RECORD_AND_SAMPLE

    def close(self) -> None:
        """Send what is still here; a collector that is away costs some seconds at most."""
        self._provider.shutdown()

    def _context(self, place: Place) -> SpanContext:
        assert place.trace is not None and place.span is not None
        kept = self.keeps(place.trace) if place.kept is None else place.kept
        flags = TraceFlags(TraceFlags.SAMPLED if kept else TraceFlags.DEFAULT)
        return SpanContext(place.trace, place.span, is_remote=True, trace_flags=flags)


def place_in(header: str) -> Place | None:
    """The span that a header ``traceparent`` names, if it does."""
    context = TraceContextTextMapPropagator().extract({HEADER: header})
    found = trace.get_current_span(context).get_span_context()
    if not found.is_valid:
        return None
    return Place(found.trace_id, found.span_id, found.trace_flags.sampled)


class _ByRandomBits(Sampler):
    """Has a ratio decide by those bits of the id of a trace that are random.

    These are the last 56: W3C Trace Context 2 says so, and so it is in the id of a run, a UUID of
    version 4. The SDK's ratio looks at the last 64, of which every UUID has the same first two.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        return self._sampler.should_sample(
            parent_context, trace_id << 8, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return self._sampler.get_description()


class _Ids(IdGenerator):
    """The ids that are wanted for the next span of this thread, or random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._local = threading.local()

    @property
    def wanted(self) -> Place:
        return getattr(self._local, "wanted", Place(None, None))

    @wanted.setter
    def wanted(self, place: Place) -> None:
        self._local.wanted = place

    def generate_trace_id(self) -> int:
        return self.wanted.trace or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return self.wanted.span or self._random.generate_span_id()
