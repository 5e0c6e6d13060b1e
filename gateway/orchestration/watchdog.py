"""Which attempts has nobody heard of for too long, and what is done about them?

Replicas give signs of life for what they work on. Where they cease, the replica, its machine or
its message may be lost, so the command is sent once more. That can do no harm: whoever still
works on the attempt holds its claim, and an attempt that has ended is answered from its record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from gateway.core import Gateway
from gateway.models import IS_OUT, IS_WAITING, LIVE, AttemptState, Run, RunState, StageAttempt, now
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.queueing import QUEUES, Queues
from gateway.orchestration.runs import lock_task
from skyrelay import logs
from skyrelay.broker import topology
from skyrelay.broker.connection import CHANNEL_ERRORS, CONNECTION_ERRORS, connect, using
from skyrelay.broker.lengths import lengths

_log = logging.getLogger(__name__)

#: Seconds between two rounds.
ROUND = 5.0
#: Attempts of each queue and state looked at in one round, the longest silent first. More are
#: silent only if the broker is away, or a service has no replicas: they must not hide the others.
_MOST = 200


def look_after(gateway: Gateway) -> None:
    """One round: send on those that wait for a queue with room, and again what was lost."""
    if _anybody_waits(gateway):
        with gateway.database.writing() as session:
            Queues(gateway, Ledger(session)).release(QUEUES)
    silent = _silent(gateway)
    if not silent:
        return
    ready = _ready(gateway.settings.amqp_uri, {attempt.queue for attempt in silent})
    for attempt in silent:
        # What still stands in its queue is not lost: there is nobody who takes it.
        if attempt.state == AttemptState.RUNNING or ready.get(attempt.queue) == 0:
            _send_again(gateway, attempt)


def patience(gateway: Gateway) -> timedelta:
    """How long nothing may be heard of an attempt; it may be waiting for its next try."""
    settings = gateway.settings
    return timedelta(seconds=settings.skyrelay_silence + max(settings.skyrelay_retry_delays))


def _anybody_waits(gateway: Gateway) -> bool:
    with gateway.database.reading() as session:
        waiting = select(StageAttempt.run_id).where(IS_WAITING).limit(1)
        return session.scalar(waiting) is not None


def _silent(gateway: Gateway) -> list[StageAttempt]:
    place = func.row_number().over(
        partition_by=(StageAttempt.queue, StageAttempt.state), order_by=StageAttempt.heard
    )
    silent = (
        select(StageAttempt, place.label("place"))
        .where(IS_OUT, StageAttempt.heard < now() - patience(gateway))
        .subquery()
    )
    query = select(aliased(StageAttempt, silent)).where(silent.c.place <= _MOST)
    with gateway.database.reading() as session:
        return list(session.scalars(query))


def _ready(amqp_uri: str, queues: set[str]) -> Mapping[str, int]:
    """How many messages nobody has taken yet, by queue; empty if the broker does not say."""
    try:
        with using(connect(amqp_uri, "watchdog")) as connection:
            names = {f"{topology.WORK_QUEUE_PREFIX}{queue}": queue for queue in queues}
            found = lengths(connection, names)
            return {queue: found[name].messages for name, queue in names.items()}
    except CONNECTION_ERRORS + CHANNEL_ERRORS as error:
        _log.warning("the broker does not say what is in its queues: %s", error)
        return {}


def _send_again(gateway: Gateway, silent: StageAttempt) -> None:
    command = silent.run_stage
    with gateway.database.writing() as session:
        task = lock_task(session, command.task)
        run = session.get(Run, silent.run_id)
        key = (silent.run_id, silent.index, silent.part, silent.attempt)
        attempt = session.get(StageAttempt, key)
        if task is None or run is None or run.state != RunState.OPEN or attempt is None:
            return
        if attempt.state not in LIVE or attempt.heard != silent.heard:
            return
        since = attempt.heard.isoformat(timespec="seconds")
        with logs.about(command):
            _log.error("nothing was heard of it since %s: its command is sent again", since)
        attempt.heard = now()
        gateway.outbox.add(session, command)
