"""How does a stage's outcome change its run and its task?

Everybody here holds the lock of the task's row.
"""

from __future__ import annotations

import errno
import logging
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateway.audit import remember
from gateway.core import Gateway
from gateway.models import AttemptState, Duty, FollowUp, Run, RunState, StageAttempt, Task, now
from gateway.orchestration.queueing import flush
from gateway.orchestration.runs import end, give_up_attempts, queue_stage
from skyrelay.messages import Outcome, StageFinished
from skyrelay.records import AttemptRecord
from skyrelay.stages import ARCHIVE, PHOTOMETRY, SIMPLE_TRANSIENTS, SUBTRACTION, stage_of

_log = logging.getLogger(__name__)

_ATTEMPT_STATE = {
    Outcome.DONE: AttemptState.DONE,
    Outcome.DEGRADED: AttemptState.DEGRADED,
    Outcome.FAILED: AttemptState.FAILED,
    Outcome.CANCELLED: AttemptState.CANCELLED,
}

#: Steps that measure something on the sky.
_MEASURES = (PHOTOMETRY.step, SIMPLE_TRANSIENTS.step, SUBTRACTION.step)


def finish(
    gateway: Gateway,
    session: Session,
    task: Task,
    run: Run,
    attempt: StageAttempt,
    event: StageFinished,
) -> None:
    """An attempt has ended: go on with what follows from its outcome."""
    attempt.state = _ATTEMPT_STATE[event.outcome]
    attempt.started = event.started
    attempt.finished = event.finished
    attempt.worker = event.worker
    attempt.reasons = list(event.reasons)
    if event.outcome is Outcome.CANCELLED:
        run.reasons = [*run.reasons, *event.reasons]
        give_up_attempts(session, run, AttemptState.CANCELLED)
        end(session, run, task, RunState.CANCELLED, "cancelled")
    elif _is_part(run, attempt):
        attempt.fraction = 1.0
        _join_if_complete(gateway, session, run, attempt.queue)
    elif event.outcome is Outcome.FAILED:
        _end_failed(session, task, run, event.reasons)
        if event.record is None:
            # Nothing in the store tells a second delivery of the command that it has failed.
            _mark_as_over(gateway, task, run)
    elif event.parts:
        _split(gateway, session, run, attempt, event)
    else:
        _succeeded(gateway, session, task, run, attempt, event)


def give_up(
    gateway: Gateway, session: Session, task: Task, run: Run, attempt: StageAttempt, reason: str
) -> None:
    """An attempt's command is among the dead letters. A part is left out, a stage fails."""
    if not _is_part(run, attempt):
        title = stage_of(run.step).title
        fail(gateway, session, task, run, f"{title} was given up: {reason}")
        return
    attempt.state = AttemptState.FAILED
    attempt.finished = now()
    attempt.reasons = [reason]
    _join_if_complete(gateway, session, run, attempt.queue)


def fail(gateway: Gateway, session: Session, task: Task, run: Run, reason: str) -> None:
    """End the locked task's run as failed, for a reason that no attempt has reported.

    A worker of whom nothing was heard must not publish after this: the run is marked as over.
    """
    _end_failed(session, task, run, (reason,))
    _mark_as_over(gateway, task, run)


def _mark_as_over(gateway: Gateway, task: Task, run: Run) -> None:
    try:
        gateway.store.cancel_run(task.id, UUID(run.id))
    except OSError as error:
        # On a full disk nothing can be marked, nor published; the run must end all the same.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not gateway.store.answers():
            raise
        _log.exception("the run cannot be marked as over")


def _is_part(run: Run, attempt: StageAttempt) -> bool:
    return 0 < attempt.part <= run.parts


def _split(
    gateway: Gateway, session: Session, run: Run, attempt: StageAttempt, event: StageFinished
) -> None:
    """The stage is prepared: send out its parts, to whichever replicas are free."""
    assert event.record is not None
    attempt.fraction = 1.0
    run.parts = event.parts
    for part in range(1, run.parts + 1):
        queue_stage(gateway, session, run, event.record, part)


def _join_if_complete(gateway: Gateway, session: Session, run: Run, queue: str) -> None:
    """When nothing more is to be heard of any part, have them put together."""
    flush(session, queue)
    over = session.scalar(
        select(func.count(StageAttempt.part.distinct())).where(
            StageAttempt.run_id == run.id,
            StageAttempt.index == run.position,
            StageAttempt.part.between(1, run.parts),
            StageAttempt.state.in_(_ATTEMPT_STATE.values()),
        )
    )
    if over == run.parts:
        part = session.scalars(
            select(StageAttempt)
            .where(
                StageAttempt.run_id == run.id,
                StageAttempt.index == run.position,
                StageAttempt.part == 1,
            )
            .limit(1)
        ).one()
        queue_stage(gateway, session, run, part.run_stage.config, run.parts + 1)


def _succeeded(
    gateway: Gateway,
    session: Session,
    task: Task,
    run: Run,
    attempt: StageAttempt,
    event: StageFinished,
) -> None:
    kept = _read_record(gateway, event)
    if kept is None or event.record is None:
        fail(gateway, session, task, run, f"The record of {event.step} is missing or damaged.")
        return
    attempt.fraction = 1.0
    attempt.values = {name: value.model_dump(mode="json") for name, value in kept.values.items()}
    attempt.provenance = kept.model_dump(mode="json", include={"software", "products", "config"})
    run.reasons = [*run.reasons, *event.reasons]
    _take_over(task, kept)
    if _is_searched(run.step):
        session.add(FollowUp(duty=Duty.INDEX, task_id=task.id, run_id=run.id, step=run.step))
    done = stage_of(run.step).state_done
    if run.position + 1 < len(run.steps):
        task.state = done
        task.reasons = list(run.reasons)
        run.position += 1
        run.parts = 0
        queue_stage(gateway, session, run, event.record)
    else:
        end(session, run, task, RunState.DEGRADED if run.reasons else RunState.DONE, done)
        remember(session, "processing_complete", task_id=task.id, run=run.id, steps=run.steps)


def _is_searched(step: str) -> bool:
    """Whether what the step has found out, or removed, is looked for across tasks."""
    return stage_of(step).locates or step in _MEASURES or step == ARCHIVE.step


def _take_over(task: Task, kept: AttemptRecord) -> None:
    task.config = kept.model_dump(mode="json")["config"]
    field = kept.field
    # Some stages always have something to say of the position, if only that there is none.
    if field is not None or stage_of(kept.step).locates:
        task.ra = field.ra if field else None
        task.dec = field.dec if field else None
        task.radius = field.radius if field else None
        task.pixel_scale = field.pixel_scale if field else None
        task.moc = field.moc if field else None


def _end_failed(session: Session, task: Task, run: Run, reasons: tuple[str, ...]) -> None:
    give_up_attempts(session, run, AttemptState.FAILED)
    # What was merely missing from earlier stages must not hide why it failed.
    run.reasons = list(reasons)
    end(session, run, task, RunState.FAILED, stage_of(run.step).state_failed)
    remember(
        session,
        "processing_failed",
        task_id=task.id,
        run=run.id,
        step=run.step,
        reasons=list(reasons),
    )


def _read_record(gateway: Gateway, event: StageFinished) -> AttemptRecord | None:
    """The record of an attempt; None if there is none that can be read.

    Raises
    ------
    OSError
        If it may be readable later. A store that does not answer at all is waited for as long
        as it takes; one record that cannot be read, while others can, must not stop all runs.
    """
    if event.record is None:
        return None
    try:
        kept = gateway.store.read_record(event.record)
    except (FileNotFoundError, ValidationError):
        _log.exception("cannot read the record %s", event.record)
        kept = None
    except OSError:
        if not (gateway.store.answers() and gateway.patience.is_over(event.record)):
            raise
        _log.exception("giving up on the record %s", event.record)
        kept = None
    gateway.patience.forget(event.record)
    return kept
