"""What does the process of the follow-ups count, and what does it leave in the traces of runs?

Its figures are told by the process of the events, whose child it is: see `skyrelay.exposition`.
What waits for it is looked up there, too (`gateway.backlog`), so that it is seen if this one hangs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prometheus_client import Counter, Gauge, Histogram

from gateway.models import Analysis, DeliveryState, Duty, FollowUp, IntakeState, WebhookDelivery
from skyrelay import tracing

#: How a try of a duty ends.
_DONE, _PUT_OFF = "done", "put off"
#: What is called.
_WEBHOOK, _ANALYSIS = "webhook", "analysis"
#: How a call ends, by the state of its delivery; where that has none yet, it will be made again.
_ENDINGS: dict[str, str] = {DeliveryState.DELIVERED: "taken", DeliveryState.FAILED: "given up"}
_FAILED = "failed"
#: Of a file of which nothing is decided yet.
_UNDECIDED = {IntakeState.SEEN, IntakeState.READY}
#: Seconds: from next door to the longest that an address may take.
_CALL = (0.03, 0.1, 0.3, 1, 3, 10, 20)

DUTIES = Counter(
    "skyrelay_follow_ups", "Tries of what follows, by how they ended", ["duty", "ending"]
)
CALLS = Histogram(
    "skyrelay_call_seconds",
    "Calls of addresses that users have named, by how they ended",
    ["kind", "ending"],
    buckets=_CALL,
)
INTERRUPTED = Counter(
    "skyrelay_follow_up_interruptions", "Rounds that ended with an error nobody foresaw", ["loop"]
)
FILES = Counter(
    "skyrelay_intake_files",
    "Files of watched folders and batches, by what became of them",
    ["state"],
)
# Of the process that lives now: what one before it has seen is over.
UNREADABLE = Gauge(
    "skyrelay_watch_folders_unreadable",
    "Watched folders that could not be looked into at the last look",
    multiprocess_mode="livemostrecent",
)
LOOKED = Gauge(
    "skyrelay_watch_looked_timestamp_seconds",
    "When the last look into the watched folders ended, since 1970",
    multiprocess_mode="livemostrecent",
)
DEATHS = Counter("skyrelay_followups_deaths", "Ends of the process that nobody had asked for")


def begin(loops: Iterable[str]) -> None:
    """The process starts, with loops of these names."""
    for duty in Duty:
        for ending in (_DONE, _PUT_OFF):
            DUTIES.labels(duty.value, ending)
    for kind in (_WEBHOOK, _ANALYSIS):
        for ending in (*_ENDINGS.values(), _FAILED):
            CALLS.labels(kind, ending)
    for state in set(IntakeState) - _UNDECIDED:
        FILES.labels(state.value)
    for loop in loops:
        INTERRUPTED.labels(loop)


def done(follow_ups: Collection[FollowUp]) -> None:
    """Nothing is left to be done about these."""
    for each in follow_ups:
        DUTIES.labels(each.duty, _DONE).inc()
        _trace(each.duty, each.run_id, each.task_id, each.created)


def put_off(follow_up: FollowUp, error: BaseException) -> None:
    """Something is in the way of this one."""
    DUTIES.labels(follow_up.duty, _PUT_OFF).inc()
    _trace(follow_up.duty, follow_up.run_id, follow_up.task_id, follow_up.created, str(error))


def called(
    about: WebhookDelivery | Analysis, values: Mapping[str, Any], tried: Mapping[str, Any]
) -> None:
    """An address was called: what is to be noted of it, as `gateway.followups.sending` has it."""
    ending = _ENDINGS.get(str(values.get("state")), _FAILED)
    kind = _ANALYSIS if isinstance(about, Analysis) else _WEBHOOK
    CALLS.labels(kind, ending).observe(tried["seconds"])
    run, task = place_of(about)
    began = datetime.now(UTC) - timedelta(seconds=tried["seconds"])
    _trace(f"call {kind}", run, task, began, tried["error"])


def place_of(about: WebhookDelivery | Analysis) -> tuple[str | None, int | None]:
    """The run and the task that a call is about."""
    if isinstance(about, Analysis):
        return about.run_id, about.task_id
    told = json.loads(about.body)
    return told.get("run", {}).get("id"), told.get("task", {}).get("id")


def _trace(name: str, run: str | None, task: int | None, began: datetime, error: str = "") -> None:
    if run is not None and task is not None:
        tracing.followed(name, UUID(run), task, began, error)
