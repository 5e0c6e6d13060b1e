"""What does a process of the gateway count, and what does it leave in the traces of runs?

Nothing here is called by the orchestration: requests are seen on their way out, ends of runs when
the transaction that decided so is committed, news of stages when they have been recorded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import RawIOBase
from typing import IO, Any
from uuid import UUID

from flask import Flask, g, request
from flask.wrappers import Response
from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import event
from sqlalchemy.orm import Session

from gateway.models import DeadLetter, RunState
from gateway.orchestration.ledger import ENDED
from skyrelay import episodes, exposition, logs, tracing
from skyrelay.broker.consumer import News
from skyrelay.messages import StageFinished
from skyrelay.settings import Settings
from skyrelay.store import figures

#: Seconds: from a page that is at hand to an upload over a thin line.
_ANSWER = (0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60)
#: Seconds: from one short stage to a night's backlog.
_RUN = (1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600)

REQUESTS = Counter(
    "skyrelay_http_requests",
    "Requests that were answered, by endpoint and class of status",
    ["endpoint", "status"],
)
ANSWERING = Histogram(
    "skyrelay_http_seconds",
    "From the first line of a request to its answer, by endpoint",
    ["endpoint"],
    buckets=_ANSWER,
)
RECEIVED = Counter("skyrelay_http_received_bytes", "Bodies of requests, as far as they were read")
SENT = Counter("skyrelay_http_sent_bytes", "Bodies of answers, as far as their length is known")
RUNS = Histogram(
    "skyrelay_run_seconds",
    "From the request of a run to its end, by its outcome",
    ["outcome"],
    buckets=_RUN,
)
PICTURES = Histogram(
    "skyrelay_picture_seconds",
    "Previews and cut-outs, by how they ended",
    ["kind", "ending"],
    buckets=_ANSWER,
)
RENDERER_DEATHS = Counter("skyrelay_renderer_deaths", "Processes that died over a picture")
DEAD_LETTERS = Counter("skyrelay_dead_letters", "Messages that were put aside")

#: When this process was started, or the one of which it was forked, in seconds since 1970.
_STARTED = time.time()

#: For which requests there are spans: others ask how things are, again and again.
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: In the environment of a request that was answered: what its lines were about.
ABOUT = "skyrelay.about"
#: What is asked by supervisors, every few seconds.
_UNCOUNTED = frozenset({"health.alive", "health.ready", "health.metrics"})
#: The endpoint of a request that no route has taken.
_NOWHERE = "none"
#: Of a session: how many dead letters its transaction keeps.
_KEPT = "dead letters"


class _Start(Collector):
    """Told by the library's own figures of a process, but not where several count together."""

    def collect(self) -> Iterator[Metric]:
        """The same, whichever of them answers."""
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            value=_STARTED,
        )


def begin(settings: Settings, process: str) -> None:
    """The process starts, and does not fork any more."""
    tracing.begin(settings, f"gateway-{process}")
    exposition.look_up(_Start())
    # A gateway waits for a store on S3, and for nothing else that is noted.
    episodes.listen(figures.count)
    if settings.tasks_url:
        figures.begin()
    for state in set(RunState) - {RunState.OPEN}:
        RUNS.labels(state.value)


def end() -> None:
    """The process ends."""
    tracing.end()


def install(app: Flask) -> None:
    """Count the requests of the application, which has all its routes."""
    app.before_request(_received)
    app.after_request(_answered)
    app.teardown_request(_left)
    for endpoint in {*app.view_functions, _NOWHERE} - _UNCOUNTED:
        REQUESTS.labels(endpoint, "5xx")


def recorded(batch: Sequence[News]) -> None:
    """The database has taken these news in."""
    for news in batch:
        if isinstance(news, StageFinished):
            tracing.recorded(news)


class _Counted(RawIOBase):
    """The body of a request; what is read of it is counted, whatever the client has announced."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._body.read(len(buffer))
        buffer[: len(read)] = read
        RECEIVED.inc(len(read))
        return len(read)


def _received() -> None:
    g.received = time.monotonic()
    request.environ["wsgi.input"] = _Counted(request.environ["wsgi.input"])
    found = request.view_args or {}
    run = found.get("run_id") or found.get("celery_id")
    about = logs.about(task=found.get("task_id"), run=run, stage=found.get("step"))
    about.__enter__()
    g.about = about


def _left(_: BaseException | None) -> None:
    if (about := g.pop("about", None)) is not None:
        # The web server's line about the request comes after this.
        request.environ[ABOUT] = logs.subject()
        about.__exit__(None, None, None)


def _answered(response: Response) -> Response:
    endpoint = request.endpoint or _NOWHERE
    if endpoint in _UNCOUNTED:
        return response
    seconds = time.monotonic() - g.get("received", time.monotonic())
    REQUESTS.labels(endpoint, f"{response.status_code // 100}xx").inc()
    ANSWERING.labels(endpoint).observe(seconds)
    SENT.inc(response.content_length or 0)
    if tracing.is_on() and request.method in _CHANGING:
        began = datetime.fromtimestamp(time.time() - seconds, UTC)
        outer = request.headers.get(tracing.HEADER, "")
        name = f"{request.method} {request.url_rule or ''}".rstrip()
        tracing.request(name, began, response.status_code, _run_in(response), outer)
    return response


def _run_in(response: Response) -> UUID | None:
    """The run that a request has begun, as its answer says."""
    content: Any = response.get_json(silent=True) if response.is_json else None
    found = content.get("celery_id") if isinstance(content, dict) else None
    return UUID(found) if found else None


@event.listens_for(Session, "pending_to_persistent")
def _note_letter(session: Session, kept: object) -> None:
    if isinstance(kept, DeadLetter):
        session.info[_KEPT] = session.info.get(_KEPT, 0) + 1


@event.listens_for(Session, "after_commit")
def _count(session: Session) -> None:
    # One that is delivered once more is not kept again, and not counted again.
    DEAD_LETTERS.inc(session.info.pop(_KEPT, 0))
    ended = datetime.now(UTC)
    for run in session.info.pop(ENDED, ()):
        RUNS.labels(run.state).observe((ended - run.created).total_seconds())
        tracing.run_ended(UUID(run.id), run.task_id, run.created, run.steps, run.state)


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(ENDED, None)
    session.info.pop(_KEPT, None)
