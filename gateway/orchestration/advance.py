"""What does an event of a stage change, and what comes next?

Events may come twice, late, or in the wrong order. What counts is the run's own place: an event
of an earlier stage, of an earlier attempt, or of a run that has ended, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import LIVE, AttemptState, Run, RunState, StageAttempt, Task, now
from gateway.orchestration import dead_letters, outcomes
from gateway.orchestration.dead_letters import GivenUp
from gateway.orchestration.queueing import release
from gateway.orchestration.runs import lock_task
from skyrelay.broker.consumer import DeadLetter, News
from skyrelay.errors import Retriable
from skyrelay.messages import Event, Place, StageFinished, StageProgressed, StageStarted
from skyrelay.stages import stage_of

_log = logging.getLogger(__name__)


def record(gateway: Gateway, batch: Sequence[News]) -> None:
    """Record what the stages say, exactly once, and send their runs on their way.

    One transaction for the whole batch. The order of the news of one task is kept.

    Raises
    ------
    Retriable
        If the database or the store does not answer now; nothing was recorded.
    """
    over: set[UUID] = set()
    freed: set[str] = set()
    try:
        with gateway.database.writing() as session:
            # Everybody locks tasks in the same order, so that nobody waits in a circle.
            news = sorted(_news_of_tasks(session, batch), key=_task_of)
            for task_id, of_task in groupby(news, key=_task_of):
                _record_for_task(gateway, session, task_id, list(of_task), over, freed)
            release(gateway, session, freed)
    except (OperationalError, InterfaceError, OSError) as error:
        raise Retriable(f"the database or the store does not answer: {error}") from error
    for run in over:
        try:
            gateway.store.close_run(run)
        except OSError:
            _log.exception("cannot clear away run %s; the janitor tries again", run)


def _news_of_tasks(session: Session, batch: Sequence[News]) -> list[Event | GivenUp]:
    """What is about tasks; dead letters are kept, and may be about one."""
    found: list[Event | GivenUp] = []
    for news in batch:
        if not isinstance(news, DeadLetter):
            found.append(news)
        elif given_up := dead_letters.keep(session, news):
            found.append(given_up)
    return found


def _place_of(news: Event | GivenUp) -> Place | Event:
    return news.place if isinstance(news, GivenUp) else news


def _task_of(news: Event | GivenUp) -> int:
    return _place_of(news).task


def _record_for_task(
    gateway: Gateway,
    session: Session,
    task_id: int,
    batch: Sequence[Event | GivenUp],
    over: set[UUID],
    freed: set[str],
) -> None:
    """Record the news of one task.

    ``over`` gets the runs whose folders are of no use any more, ``freed`` the queues in which
    there may be room now.
    """
    _progressed(session, [news for news in batch if isinstance(news, StageProgressed)])
    lasting = [news for news in batch if not isinstance(news, StageProgressed)]
    if not lasting:
        return
    task = lock_task(session, task_id)
    for news in lasting:
        place = _place_of(news)
        run = session.get(Run, str(place.run)) if task else None
        if task is None or run is None or run.state != RunState.OPEN:
            _log.debug("old news: %s", news)
            if not isinstance(news, StageStarted):
                over.add(place.run)
            continue
        attempt = _attempt_at(session, run, place)
        if attempt is None:
            continue
        if isinstance(news, StageStarted):
            _started(task, run, attempt, news)
            continue
        freed.add(attempt.queue)
        if isinstance(news, StageFinished):
            outcomes.finish(gateway, session, task, run, attempt, news)
        else:
            outcomes.give_up(gateway, session, task, run, attempt, news.reason)
        if run.state != RunState.OPEN:
            over.add(place.run)


def _attempt_at(session: Session, run: Run, place: Place | Event) -> StageAttempt | None:
    """The attempt that news are about; None if they are old, or about nothing that there is.

    A later attempt than the one that we know takes its place: replicas decide about those.
    """
    if place.index != run.position:
        return None
    present = session.scalar(
        select(StageAttempt)
        .where(
            StageAttempt.run_id == run.id,
            StageAttempt.index == place.index,
            StageAttempt.part == place.part,
        )
        .order_by(StageAttempt.attempt.desc())
        .limit(1)
    )
    if present is None or present.state not in LIVE or place.attempt < present.attempt:
        return None
    if place.attempt == present.attempt:
        return present
    present.state = AttemptState.SUPERSEDED
    present.finished = now()
    command = present.run_stage.model_copy(update={"attempt": place.attempt})
    following = StageAttempt(
        run_id=run.id,
        index=present.index,
        part=present.part,
        attempt=place.attempt,
        step=present.step,
        state=AttemptState.QUEUED,
        command=command.to_json(),
        queue=present.queue,
        user_id=present.user_id,
        rank=present.rank,
        turn=present.turn,
        reasons=[],
        values={},
    )
    session.add(following)
    session.flush()
    return following


def _started(task: Task, run: Run, attempt: StageAttempt, event: StageStarted) -> None:
    attempt.state = AttemptState.RUNNING
    attempt.started = event.started
    attempt.worker = event.worker
    attempt.fraction = 0.0
    attempt.doing = ""
    attempt.heard = now()
    task.state = stage_of(run.step).state


def _progressed(session: Session, batch: Sequence[StageProgressed]) -> None:
    """Needs no lock: a fraction that comes too late changes nothing that matters."""
    # Of all that was said about an attempt, the last word is enough.
    latest = {(each.run, each.index, each.part, each.attempt): each for each in batch}
    for event in latest.values():
        session.execute(
            update(StageAttempt)
            .where(
                StageAttempt.run_id == str(event.run),
                StageAttempt.index == event.index,
                StageAttempt.part == event.part,
                StageAttempt.attempt == event.attempt,
                StageAttempt.state.in_(LIVE),
            )
            .values(fraction=event.fraction, doing=event.doing, heard=now())
            .execution_options(synchronize_session=False)
        )
