"""What does an event of a stage change, and what comes next?

Events may come twice, late, or in the wrong order. What counts is the run's own place: an event
of an earlier stage, of an earlier attempt, or of a run that has ended, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import bindparam, select, tuple_, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import LIVE, AttemptState, Run, RunState, StageAttempt, Task, now
from gateway.orchestration import dead_letters, outcomes
from gateway.orchestration.dead_letters import GivenUp
from gateway.orchestration.queueing import leave, release
from gateway.orchestration.runs import hold_tasks
from skyrelay import logs
from skyrelay.broker.consumer import DeadLetter, News
from skyrelay.errors import Retriable
from skyrelay.messages import Event, Place, StageFinished, StageProgressed, StageStarted
from skyrelay.stages import stage_of

_log = logging.getLogger(__name__)

#: News that change where a run is, as they come, and those of them that are about a task.
_Lasting: TypeAlias = StageStarted | StageFinished | DeadLetter
_OfTask: TypeAlias = StageStarted | StageFinished | GivenUp

#: Open runs, their tasks, and the attempts of their present stages. Like all statements that every
#: stage of every run needs, it is built once: that takes longer than the database does.
_LATEST = (
    select(Task, Run, StageAttempt)
    .join(Run, Run.task_id == Task.id)
    .outerjoin(
        StageAttempt,
        (StageAttempt.run_id == Run.id)
        & (StageAttempt.index == Run.position)
        & StageAttempt.part.in_(bindparam("parts", expanding=True)),
    )
    .where(Run.id.in_(bindparam("runs", expanding=True)), Run.state == RunState.OPEN)
    .order_by(StageAttempt.attempt)
)


def record(gateway: Gateway, batch: Sequence[News]) -> None:
    """Record what the stages say, exactly once, and send their runs on their way.

    One transaction, and few questions, for all of the batch that lasts. The order of the news of
    one task is kept. Progress has a transaction of its own, which waits for nobody.

    Raises
    ------
    Retriable
        If the database or the store does not answer now; nothing was recorded.
    """
    lasting = [each for each in batch if not isinstance(each, StageProgressed)]
    progress = [each for each in batch if isinstance(each, StageProgressed)]
    over: dict[UUID, int] = {}
    try:
        if lasting:
            over = _lasting(gateway, lasting)
        if progress:
            with gateway.database.writing() as session:
                _progressed(session, progress)
    except (OperationalError, InterfaceError, OSError) as error:
        raise Retriable(f"the database or the store does not answer: {error}") from error
    for run, task in over.items():
        try:
            gateway.store.close_run(run)
        except OSError:
            with logs.about(task=task, run=run):
                _log.exception("its folder cannot be cleared away; the janitor tries again")


def _lasting(gateway: Gateway, batch: Sequence[_Lasting]) -> dict[UUID, int]:
    """Record what changes where a run is; the runs whose folders are of no use, and their tasks."""
    over: dict[UUID, int] = {}
    freed: set[str] = set()
    with gateway.database.writing() as session:
        news = _news_of_tasks(session, batch)
        known = _Known(session, [_place_of(each) for each in news])
        for each in news:
            with logs.about(_place_of(each)):
                _record(gateway, session, known, each, over, freed)
        release(gateway, session, freed)
    return over


def _news_of_tasks(session: Session, batch: Sequence[_Lasting]) -> list[_OfTask]:
    """What is about tasks; dead letters are kept, and may be about one."""
    found: list[_OfTask] = []
    for news in batch:
        if not isinstance(news, DeadLetter):
            found.append(news)
        elif given_up := dead_letters.keep(session, news):
            found.append(given_up)
    return found


def _place_of(news: _OfTask) -> Place | Event:
    return news.place if isinstance(news, GivenUp) else news


class _Known:
    """What the database knows of the places that news are about; their tasks are locked."""

    def __init__(self, session: Session, places: Sequence[Place | Event]) -> None:
        self._session = session
        self._open: dict[tuple[int, str], tuple[Task, Run]] = {}
        self._attempts: dict[tuple[str, int, int], StageAttempt] = {}
        if not places:
            return
        tasks = {place.task for place in places}
        hold_tasks(session, tasks)
        # Only now, when nobody else can change them any more.
        latest = session.execute(
            _LATEST,
            {
                "runs": {str(place.run) for place in places},
                "parts": {place.part for place in places},
            },
        )
        for task, run, attempt in latest:
            self._open[task.id, run.id] = (task, run)
            if attempt is not None:
                self._attempts[run.id, attempt.index, attempt.part] = attempt

    def open_run(self, place: Place | Event) -> tuple[Task, Run] | None:
        """The run, if it is still open, and its task."""
        found = self._open.get((place.task, str(place.run)))
        return found if found and found[1].state == RunState.OPEN else None

    def attempt(self, place: Place | Event) -> StageAttempt | None:
        """The attempt that news are about; None if they are old.

        A later attempt than the one that we know takes its place: replicas decide about those.
        """
        key = (str(place.run), place.index, place.part)
        present = self._attempts.get(key)
        if present is None or present.state not in LIVE or place.attempt < present.attempt:
            return None
        if place.attempt == present.attempt:
            return present
        following = self._attempts[key] = _following(present, place.attempt)
        self._session.add(following)
        return following


def _following(present: StageAttempt, number: int) -> StageAttempt:
    """The later attempt that takes the place of one of which nothing is expected any more."""
    present.state = AttemptState.SUPERSEDED
    present.finished = now()
    return StageAttempt(
        run_id=present.run_id,
        index=present.index,
        part=present.part,
        attempt=number,
        step=present.step,
        state=AttemptState.QUEUED,
        command=present.run_stage.model_copy(update={"attempt": number}).to_json(),
        queue=present.queue,
        user_id=present.user_id,
        rank=present.rank,
        turn=present.turn,
        fraction=0.0,
        reasons=[],
        values={},
    )


def _record(
    gateway: Gateway,
    session: Session,
    known: _Known,
    news: _OfTask,
    over: dict[UUID, int],
    freed: set[str],
) -> None:
    """Record one of the news.

    ``over`` gets the runs whose folders are of no use any more, and their tasks, ``freed`` the
    queues in which there may be room now.
    """
    place = _place_of(news)
    found = known.open_run(place)
    if found is None:
        _log.debug("old news: %s", news)
        if not isinstance(news, StageStarted):
            over[place.run] = place.task
        return
    task, run = found
    attempt = known.attempt(place) if place.index == run.position else None
    if attempt is None:
        _log.debug("old news: %s", news)
        return
    if isinstance(news, StageStarted):
        _started(task, run, attempt, news)
        return
    freed.add(attempt.queue)
    leave(session, attempt)
    if isinstance(news, StageFinished):
        outcomes.finish(gateway, session, task, run, attempt, news)
    else:
        outcomes.give_up(gateway, session, task, run, attempt, news.reason)
    if run.state != RunState.OPEN:
        over[place.run] = place.task


def _started(task: Task, run: Run, attempt: StageAttempt, event: StageStarted) -> None:
    attempt.state = AttemptState.RUNNING
    attempt.started = event.started
    attempt.worker = event.worker
    attempt.fraction = 0.0
    attempt.doing = ""
    attempt.heard = now()
    task.state = stage_of(run.step).state


def _progressed(session: Session, batch: Sequence[StageProgressed]) -> None:
    """Keep how far attempts are; it may come too late, and be lost.

    Everybody else locks a task before its attempts, and this locks no task: an attempt that
    somebody else is changing is passed over, or each might wait for the other.
    """
    # Of all that was said about an attempt, the last word is enough.
    latest = {(str(each.run), each.index, each.part, each.attempt): each for each in batch}
    place = tuple_(StageAttempt.run_id, StageAttempt.index, StageAttempt.part, StageAttempt.attempt)
    free = session.execute(
        select(StageAttempt.run_id, StageAttempt.index, StageAttempt.part, StageAttempt.attempt)
        .where(place.in_(list(latest)), StageAttempt.state.in_(LIVE))
        .with_for_update(skip_locked=True)
    ).all()
    for run, index, part, attempt in free:
        event = latest[run, index, part, attempt]
        session.execute(
            update(StageAttempt)
            .where(place == (run, index, part, attempt))
            .values(fraction=event.fraction, doing=event.doing, heard=now())
            .execution_options(synchronize_session=False)
        )
