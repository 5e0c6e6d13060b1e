"""What does an event of a stage change, and what comes next?

Events may come twice, late, or in the wrong order. What counts is the run's own place: an event
of an earlier stage, of an earlier attempt, or of a run that has ended, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import LIVE, AttemptState, RunState, StageAttempt, now
from gateway.orchestration import dead_letters
from gateway.orchestration.dead_letters import GivenUp
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.open_runs import OpenAttempt, OpenRun
from gateway.orchestration.outcomes import Outcomes
from gateway.orchestration.queueing import Queues
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
    with gateway.database.writing() as session:
        return _Recorder(gateway, session).record(_news_of_tasks(session, batch))


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


class _Recorder:
    """Records the news of one transaction."""

    def __init__(self, gateway: Gateway, session: Session) -> None:
        self._session = session
        self._ledger = Ledger(session)
        self._queues = Queues(gateway, self._ledger)
        self._outcomes = Outcomes(gateway, self._ledger, self._queues)
        #: Runs whose folders are of no use any more, and their tasks.
        self._over: dict[UUID, int] = {}
        #: Queues in which there may be room now.
        self._freed: set[str] = set()

    def record(self, news: Sequence[_OfTask]) -> dict[UUID, int]:
        """Record them; the runs whose folders are of no use any more, and their tasks."""
        if news:
            places = [_place_of(each) for each in news]
            hold_tasks(self._session, {place.task for place in places})
            # Only now, when nobody else can change them any more.
            self._ledger.read(places)
        for each in news:
            with logs.about(_place_of(each)):
                self._record(each)
        self._queues.release(self._freed)
        self._ledger.write()
        self._outcomes.mark_as_over()
        return self._over

    def _record(self, news: _OfTask) -> None:
        place = _place_of(news)
        run = self._ledger.run(place)
        if run is None:
            _log.debug("old news: %s", news)
            if not isinstance(news, StageStarted):
                self._over[place.run] = place.task
            return
        attempt = self._ledger.attempt(place) if place.index == run.position else None
        if attempt is None:
            _log.debug("old news: %s", news)
            return
        if isinstance(news, StageStarted):
            self._started(run, attempt, news)
            return
        self._freed.add(attempt.queue)
        self._queues.leave(attempt)
        if isinstance(news, StageFinished):
            self._outcomes.finish(run, attempt, news)
        else:
            self._outcomes.give_up(run, attempt, news.reason)
        if run.state is not RunState.OPEN:
            self._over[place.run] = place.task

    def _started(self, run: OpenRun, attempt: OpenAttempt, event: StageStarted) -> None:
        attempt.state = AttemptState.RUNNING
        attempt.started = event.started
        attempt.worker = event.worker
        attempt.fraction = 0.0
        attempt.doing = ""
        attempt.heard = now()
        run.task_state = stage_of(run.step).state
        self._ledger.change(run, attempt)


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
