"""How does one trace show a whole run: the request, the queues, the stages, their programs?

A run's id is the id of its trace, and the ids of its spans follow from what they are about. So
every process knows them without being told: nothing is carried through the database or from one
message to the next, and what is sent twice gets the same span twice. Messages carry the trace in
the header ``traceparent`` (W3C Trace Context) for whoever else reads them. Whether a trace is kept
follows from the run's id, too: of a run all spans are, or none.

Off unless ``SKYRELAY_TRACES`` names a collector; then nothing of OpenTelemetry is even imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from skyrelay.episodes import Ending, Episode
from skyrelay.messages import Message, Outcome, RunStage, StageFinished
from skyrelay.settings import Settings

if TYPE_CHECKING:
    from skyrelay.spans import Place, Spans

#: Header of HTTP requests and of messages that names the trace and the span before.
HEADER = "traceparent"

_spans: Spans | None = None


def begin(settings: Settings, process: str) -> None:
    """Send the spans of this process, in the background, to the collector of the settings.

    Called in a process that does not fork any more: a thread sends them.
    """
    global _spans
    if settings.skyrelay_traces:
        from skyrelay.spans import Spans

        _spans = Spans(settings.skyrelay_traces, process)


def end() -> None:
    """Send what is still here."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        spans.close()


def is_on() -> bool:
    """Whether anybody wants spans."""
    return _spans is not None


def headers(message: Message) -> dict[str, str] | None:
    """The headers with which a message goes to the broker."""
    if _spans is None:
        return None
    span = _id("send", *_words(message))
    return {HEADER: f"00-{message.run.int:032x}-{span:016x}-{_spans.keeps(message.run.int):02x}"}


def sent(message: Message) -> None:
    """The broker has a message; it was decided on when it says."""
    if _spans is not None:
        _emit(f"send {message.kind}", message, "send", (message.sent, datetime.now(UTC)))


def recorded(event: StageFinished) -> None:
    """The gateway has taken note of the end of an attempt."""
    if _spans is not None:
        _emit(f"record {event.kind}", event, "record", (event.sent, datetime.now(UTC)))


def attempt(
    command: RunStage, times: tuple[datetime, datetime], ending: str, reasons: Sequence[str]
) -> None:
    """An attempt has waited since it was decided on, and then run for as long as ``times`` say."""
    if _spans is None:
        return
    _emit(f"wait {command.step}", command, "wait", (command.sent, times[0]))
    found = {"skyrelay.outcome": ending, "skyrelay.reasons": list(reasons)}
    good = ending in (Outcome.DONE, Outcome.DEGRADED, Outcome.CANCELLED)
    _emit(command.step, command, "attempt", times, found, error="" if good else ending)


def episode(command: RunStage, episode: Episode) -> None:
    """Something that an attempt has waited for."""
    if _spans is None:
        return
    began = datetime.fromtimestamp(episode.began, UTC)
    times = began, began + timedelta(seconds=episode.seconds)
    what = f"{episode.kind} {episode.name}"
    found = {"skyrelay.ending": episode.ending.value, "skyrelay.bytes": episode.size}
    error = "" if episode.ending is Ending.OK else episode.ending.value
    above = _id("attempt", *_words(command))
    _emit(what, command, f"{what} {episode.began}", times, found, error=error, parent=above)


def run_ended(run: UUID, task: int, began: datetime, steps: Sequence[str], state: str) -> None:
    """A run has ended now; all its other spans are below this one."""
    if _spans is not None:
        _spans.emit(
            "run",
            _place(run, _root(run)),
            (began, datetime.now(UTC)),
            {"skyrelay.task": task, "skyrelay.steps": list(steps), "skyrelay.outcome": state},
            error=state if state == "failed" else "",
        )


def followed(name: str, run: UUID, task: int, began: datetime, error: str) -> None:
    """Something that follows from a run was done now, or could not be; it does not hold it up."""
    if _spans is not None:
        _spans.emit(
            name,
            _place(run, _id("followed", str(run), name, str(began))),
            (began, datetime.now(UTC)),
            {"skyrelay.task": task},
            error=error,
            parent=_place(run, _root(run)),
        )


def request(name: str, began: datetime, status: int, run: UUID | None, header: str) -> None:
    """An HTTP request was answered; ``run``: the one that it began.

    It is part of that run's trace, linked to the one in which the client sees it, which
    ``header`` names, or else goes on with the client's.
    """
    if _spans is None:
        return
    from skyrelay.spans import Place, place_in

    outer = place_in(header)
    times = began, datetime.now(UTC)
    found = {"http.response.status_code": status}
    error = str(status) if status >= 500 else ""
    if run is None:
        _spans.emit(name, Place(None, None), times, found, error=error, parent=outer)
    else:
        place = _place(run, _id("request", str(run), name))
        parent = _place(run, _root(run))
        _spans.emit(name, place, times, found, error=error, parent=parent, link=outer)


def _emit(
    name: str,
    about: Message,
    what: str,
    times: tuple[datetime, datetime],
    found: Mapping[str, Any] | None = None,
    *,
    error: str = "",
    parent: int | None = None,
) -> None:
    """A span about a message, below the run itself if no other parent is named."""
    assert _spans is not None
    attributes: dict[str, Any] = {"skyrelay.task": about.task}
    for field in ("step", "part", "attempt", "worker"):
        if hasattr(about, field):
            attributes[f"skyrelay.{field}"] = getattr(about, field)
    _spans.emit(
        name,
        _place(about.run, _id(what, *_words(about))),
        times,
        attributes | dict(found or {}),
        error=error,
        parent=_place(about.run, parent or _root(about.run)),
    )


def _words(message: Message) -> tuple[str, ...]:
    """What tells a message from others of its run."""
    fields = ("run", "kind", "index", "part", "attempt")
    return tuple(str(getattr(message, field, "")) for field in fields)


def _place(run: UUID, span: int) -> Place:
    from skyrelay.spans import Place

    return Place(run.int, span)


def _root(run: UUID) -> int:
    return _id("run", str(run))


def _id(*words: str) -> int:
    """The id of a span, of 64 bits; never 0, which would be none."""
    digest = hashlib.blake2b("\n".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1
