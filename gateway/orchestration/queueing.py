"""Which of the attempts that wait goes to its stage next?

The broker gets a window of each service's commands, enough to keep every replica busy; the others
wait in the database, where they can still be put in order: the higher priority first, and users
of the same priority in turns. So a follow-up overtakes a survey's backlog, and one user's
thousand images do not hold up another's single one.

The turns are those of start-time fair queueing (Goyal, Vin & Cheng 1996, SIGCOMM, section 2): an
attempt starts where the stage is now, or one turn after its user's last one, whichever is later.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, TextClause, case, func, select
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import IS_OUT, IS_WAITING, AttemptState, Run, StageAttempt, now
from skyrelay.broker.topology import in_lane
from skyrelay.messages import Lane, RunStage
from skyrelay.products import IMAGE
from skyrelay.stages import SERVICES, stage_of

_MIB = 1024 * 1024

#: All queues of commands, by the name that attempts have for them.
QUEUES = tuple(in_lane(service, lane) for service in SERVICES for lane in Lane)


def lane_of(gateway: Gateway, task_id: int) -> Lane:
    """The lane in which an image of this task's size travels."""
    least = gateway.settings.skyrelay_large_image
    if not least:
        return Lane.NORMAL
    try:
        size = gateway.store.path(task_id, IMAGE).stat().st_size
    except OSError:
        return Lane.NORMAL
    return Lane.LARGE if size >= least * _MIB else Lane.NORMAL


def enqueue(gateway: Gateway, session: Session, run: Run, command: RunStage) -> None:
    """Begin an attempt: its command goes to the broker, now or when it is its turn."""
    queue = in_lane(stage_of(command.step).service, command.lane)
    out, present, last = session.execute(
        select(
            func.count(),
            func.max(StageAttempt.turn),
            func.max(case((StageAttempt.user_id == run.user_id, StageAttempt.turn))),
        ).where(StageAttempt.queue == queue, IS_OUT)
    ).one()
    window = gateway.settings.skyrelay_queue_window
    waits = bool(window) and out >= window
    if waits:
        waiting = session.scalar(
            select(func.max(StageAttempt.turn)).where(
                *_waits_in(queue), StageAttempt.user_id == run.user_id
            )
        )
        last = max((turn for turn in (last, waiting) if turn is not None), default=None)
    session.add(
        StageAttempt(
            run_id=run.id,
            index=command.index,
            part=command.part,
            attempt=command.attempt,
            step=command.step,
            state=AttemptState.WAITING if waits else AttemptState.QUEUED,
            command=command.to_json(),
            queue=queue,
            user_id=run.user_id,
            rank=-run.priority,
            turn=max(present or 0, 0 if last is None else last + 1),
            reasons=[],
            values={},
        )
    )
    if not waits:
        gateway.outbox.add(session, command)


def release(gateway: Gateway, session: Session, queues: Iterable[str]) -> None:
    """Send on those that wait for these queues, as many as there is room for now."""
    for queue in sorted(queues):
        if session.scalar(select(StageAttempt.run_id).where(*_waits_in(queue)).limit(1)):
            _release(gateway, session, queue)


def _release(gateway: Gateway, session: Session, queue: str) -> None:
    following = (
        select(StageAttempt)
        .where(*_waits_in(queue))
        .order_by(StageAttempt.rank, StageAttempt.turn)
        .with_for_update(skip_locked=True)
    )
    if window := gateway.settings.skyrelay_queue_window:
        out = session.scalar(select(func.count()).where(StageAttempt.queue == queue, IS_OUT))
        following = following.limit(max(0, window - (out or 0)))
    for attempt in session.scalars(following).all():
        attempt.state = AttemptState.QUEUED
        attempt.heard = now()
        gateway.outbox.add(session, attempt.run_stage)


def _waits_in(queue: str) -> tuple[ColumnElement[bool], TextClause]:
    return StageAttempt.queue == queue, IS_WAITING
