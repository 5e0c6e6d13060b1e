"""What does an event of a stage change, and what comes next?

Events may come twice, late, or in the wrong order. What counts is the run's own place: an event
of an earlier stage, of an earlier attempt, or of a run that has ended, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from gateway.audit import remember
from gateway.core import Gateway
from gateway.models import AttemptState, Run, RunState, StageAttempt, Task
from gateway.orchestration.runs import end, give_up_attempt, lock_task, queue_stage
from skyrelay.broker.consumer import DeadCommand, News
from skyrelay.errors import Retriable
from skyrelay.messages import Outcome, StageFinished, StageProgressed, StageStarted
from skyrelay.records import AttemptRecord
from skyrelay.stages import stage_of

_log = logging.getLogger(__name__)

_ATTEMPT_STATE = {
    Outcome.DONE: AttemptState.DONE,
    Outcome.DEGRADED: AttemptState.DEGRADED,
    Outcome.FAILED: AttemptState.FAILED,
    Outcome.CANCELLED: AttemptState.CANCELLED,
}


def record(gateway: Gateway, batch: Sequence[News]) -> None:
    """Record what the stages say, exactly once, and send their runs on their way.

    One transaction for the whole batch. The order of the news of one task is kept.

    Raises
    ------
    Retriable
        If the database or the store does not answer now; nothing was recorded.
    """
    over: set[UUID] = set()
    try:
        with gateway.database.writing() as session:
            # Everybody locks tasks in the same order, so that nobody waits in a circle.
            for task_id, news in groupby(sorted(batch, key=_task_of), key=_task_of):
                over |= _record_for_task(gateway, session, task_id, list(news))
    except (OperationalError, InterfaceError, OSError) as error:
        raise Retriable(f"the database or the store does not answer: {error}") from error
    for run in over:
        try:
            gateway.store.close_run(run)
        except OSError:
            _log.exception("cannot clear away run %s; the janitor tries again", run)


def _task_of(news: News) -> int:
    return news.command.task if isinstance(news, DeadCommand) else news.task


def _record_for_task(
    gateway: Gateway, session: Session, task_id: int, batch: Sequence[News]
) -> set[UUID]:
    """Record the news of one task; the runs whose folders are of no use any more."""
    over = set()
    task: Task | None = None
    locked = False
    for news in batch:
        if isinstance(news, StageProgressed):
            continue
        if not locked:
            task, locked = lock_task(session, task_id), True
        place = news.command if isinstance(news, DeadCommand) else news
        run = session.get(Run, str(place.run)) if task else None
        if task is None or run is None or run.state != RunState.OPEN:
            _log.debug("old news: %s", news)
            if not isinstance(news, StageStarted):
                over.add(place.run)
            continue
        if place.index != run.position or place.attempt < run.attempt:
            continue
        _move_to_attempt(session, run, place.attempt)
        if isinstance(news, StageStarted):
            _started(session, task, run, news)
        elif isinstance(news, StageFinished):
            _finished(gateway, session, task, run, news)
        else:
            title = stage_of(run.step).title
            fail(gateway, session, task, run, f"{title} was given up: {news.reason}")
        if run.state != RunState.OPEN:
            over.add(place.run)
    progress = [news for news in batch if isinstance(news, StageProgressed)]
    if progress:
        # Of all that was said, the last word is enough.
        _progressed(session, progress[-1])
    return over


def fail(gateway: Gateway, session: Session, task: Task, run: Run, reason: str) -> None:
    """End the locked task's run as failed, for a reason that no attempt has reported.

    A worker of whom nothing was heard must not publish after this: the run is marked as over.
    """
    give_up_attempt(session, run, AttemptState.FAILED)
    _end_failed(session, task, run, (reason,))
    try:
        gateway.store.cancel_run(task.id, UUID(run.id))
    except OSError:
        if not gateway.store.answers():
            raise
        _log.exception("cannot mark run %s as over", run.id)


def _move_to_attempt(session: Session, run: Run, attempt: int) -> None:
    if attempt == run.attempt:
        return
    give_up_attempt(session, run, AttemptState.SUPERSEDED)
    run.attempt = attempt
    session.add(
        StageAttempt(
            run_id=run.id,
            index=run.position,
            attempt=attempt,
            step=run.step,
            reasons=[],
            values={},
        )
    )
    session.flush()


def _present_attempt(session: Session, run: Run) -> StageAttempt:
    return session.get_one(StageAttempt, (run.id, run.position, run.attempt))


def _started(session: Session, task: Task, run: Run, event: StageStarted) -> None:
    attempt = _present_attempt(session, run)
    attempt.state = AttemptState.RUNNING
    attempt.started = event.started
    attempt.worker = event.worker
    attempt.fraction = 0.0
    attempt.doing = ""
    task.state = stage_of(run.step).state


def _progressed(session: Session, event: StageProgressed) -> None:
    """Needs no lock: a fraction that comes too late changes nothing that matters."""
    session.execute(
        update(StageAttempt)
        .where(
            StageAttempt.run_id == str(event.run),
            StageAttempt.index == event.index,
            StageAttempt.attempt == event.attempt,
            StageAttempt.state.in_((AttemptState.QUEUED, AttemptState.RUNNING)),
        )
        .values(fraction=event.fraction, doing=event.doing)
        .execution_options(synchronize_session=False)
    )


def _finished(
    gateway: Gateway, session: Session, task: Task, run: Run, event: StageFinished
) -> None:
    attempt = _present_attempt(session, run)
    attempt.state = _ATTEMPT_STATE[event.outcome]
    attempt.started = event.started
    attempt.finished = event.finished
    attempt.worker = event.worker
    attempt.reasons = list(event.reasons)
    if event.outcome is Outcome.CANCELLED:
        run.reasons = [*run.reasons, *event.reasons]
        end(run, task, RunState.CANCELLED, "cancelled")
    elif event.outcome is Outcome.FAILED:
        _end_failed(session, task, run, event.reasons)
    else:
        _succeeded(gateway, session, task, run, attempt, event)


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
    run.reasons = [*run.reasons, *event.reasons]
    _take_over(task, kept)
    done = stage_of(run.step).state_done
    if run.position + 1 < len(run.steps):
        task.state = done
        task.reasons = list(run.reasons)
        run.position += 1
        run.attempt = 1
        queue_stage(gateway, session, run, event.record)
    else:
        end(run, task, RunState.DEGRADED if run.reasons else RunState.DONE, done)
        remember(session, "processing_complete", task_id=task.id, run=run.id, steps=run.steps)


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
    # What was merely missing from earlier stages must not hide why it failed.
    run.reasons = list(reasons)
    end(run, task, RunState.FAILED, stage_of(run.step).state_failed)
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
