"""What do crashes leave behind, and who takes it away?

A process may die between a commit and what should follow it. Nothing of that is urgent: the
janitor comes by every half minute, and looks through the folders of all tasks now and then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select

from gateway.core import Gateway
from gateway.listings import forget_changes
from gateway.models import IS_OPEN, Run, Task, now
from gateway.orchestration.cancel import NotRunning, cancel
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.outcomes import Outcomes
from gateway.orchestration.queueing import Queues
from gateway.orchestration.runs import hold_tasks, lock_task
from skyrelay import logs
from skyrelay.store import StoredRun

_log = logging.getLogger(__name__)

#: Seconds between two rounds, between two looks at the trash, and at the folders of all tasks.
ROUND, TRASH_ROUND, ORPHANS_ROUND = 30.0, 2.0, 600.0
#: What is younger may still be in somebody's hands: a stage that is being stopped, a transaction
#: that is being committed.
_YOUNG = timedelta(minutes=1)
#: A folder without a row in the database is a transaction that was never committed; of a task that
#: is not settled for so long, nobody is about to say what became of it.
_ORPHAN = timedelta(minutes=10)
#: An upload may take long, but not this long.
_ABANDONED_UPLOAD = timedelta(days=1)
#: Rows asked for in one question.
_CHUNK = 500

_T = TypeVar("_T")


def clean_up(gateway: Gateway) -> None:
    """One round: what concerns runs."""
    # Once: on S3 each look at all of them, or at one, is a request.
    stored = list(gateway.store.runs())
    _end_runs_without_folder(gateway, {str(each.run) for each in stored if each.is_there})
    _close_runs(gateway, stored)


def drop_orphans(gateway: Gateway) -> None:
    """Remove uploads and versions that were never published, what is left of tasks, old notes."""
    gateway.store.drop_incoming(now() - _ABANDONED_UPLOAD)
    _settle_tasks(gateway)
    with gateway.database.writing() as session:
        forget_changes(session)
    for chunk in _batched(gateway.store.orphans()):
        with gateway.database.reading() as session:
            known = set(session.scalars(select(Task.id).where(Task.id.in_(chunk))))
        for task in chunk:
            try:
                gateway.store.drop_orphans(task, gone=task not in known)
            except OSError:
                with logs.about(task=task):
                    _log.exception("what is left of it cannot be cleared away")


def _settle_tasks(gateway: Gateway) -> None:
    """Take away the files of tasks that were not made after all, or deleted by half.

    Only those that are marked: a folder of which this database knows nothing may be another's.
    """
    for task, since in list(gateway.store.unsettled()):
        if now() - since <= _ORPHAN:
            continue
        try:
            _settle(gateway, task)
        except OSError:
            with logs.about(task=task):
                _log.exception("what is left of it cannot be cleared away")


def _settle(gateway: Gateway, task: int) -> None:
    # SQLite gives a number that was never committed again, but not while somebody else may write.
    with gateway.database.writing() as session:
        if session.get(Task, task) is None:
            gateway.store.delete(task)
            with logs.about(task=task):
                _log.warning("there is no such task; the files that were left of it are deleted")
        gateway.store.settle(task)


def empty_trash(gateway: Gateway) -> None:
    """Remove what was thrown away: by whoever was in a hurry, or has died over it."""
    gateway.store.empty_trash()


def _close_runs(gateway: Gateway, stored: Iterable[StoredRun]) -> None:
    """Take away the folders of runs that are over."""
    for chunk in _batched(stored):
        known = _runs(gateway, [str(each.run) for each in chunk])
        for each in chunk:
            try:
                _close_if_over(gateway, each, known.get(str(each.run)))
            except OSError:
                # One folder that cannot be touched is no reason to leave the others.
                with logs.about(run=each.run):
                    _log.exception("its folder cannot be cleared away")


def _runs(gateway: Gateway, ids: Sequence[str]) -> dict[str, Run]:
    with gateway.database.reading() as session:
        return {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(ids)))}


def _close_if_over(gateway: Gateway, stored: StoredRun, run: Run | None) -> None:
    if run is None:
        over = now() - stored.changed > _ORPHAN
    elif run.ended is None:
        over = False
        if stored.cancelled and now() - stored.changed > _YOUNG:
            _cancel_again(gateway, run)
    else:
        over = now() - run.ended > _YOUNG
    if over:
        gateway.store.close_run(stored.run)


def _end_runs_without_folder(gateway: Gateway, there: Set[str]) -> None:
    """A run whose folder is gone can never go on; its messages are dropped by every replica.

    ``there``: those whose folder was there when all were listed.
    """
    for run_id, task_id in _open_runs(gateway):
        # The listing may have taken longer than a run is young.
        if run_id in there or gateway.store.has_run(UUID(run_id)):
            continue
        with gateway.database.writing() as session:
            hold_tasks(session, {task_id})
            ledger = Ledger(session)
            run = ledger.read_run(run_id)
            if run is not None:
                with logs.about(task=task_id, run=run_id, stage=run.step):
                    _log.error("the run has lost its folder")
                    outcomes = Outcomes(gateway, ledger, Queues(gateway, ledger))
                    outcomes.fail(run, "The files of this run are gone.")
                    ledger.write()


def _open_runs(gateway: Gateway) -> Iterator[tuple[str, int]]:
    """Open runs that are not young, and their tasks; a backlog of any length, a part at a time."""
    last = 0
    while True:
        following = (
            select(Run.id, Run.task_id)
            .where(IS_OPEN, Run.task_id > last, Run.created < now() - _YOUNG)
            .order_by(Run.task_id)
            .limit(_CHUNK)
        )
        with gateway.database.reading() as session:
            found = session.execute(following).all()
        if not found:
            return
        for run_id, task_id in found:
            yield run_id, task_id
            last = task_id


def _cancel_again(gateway: Gateway, found: Run) -> None:
    """The gateway died between the mark in the store and the commit."""
    with gateway.database.writing() as session:
        task = lock_task(session, found.task_id)
        if task is not None and task.celery_id == found.id:
            try:
                cancel(gateway, session, task)
            except NotRunning:
                return
            with logs.about(task=task.id, run=found.id):
                _log.warning("the run had been cancelled by half; now it is")


def _batched(items: Iterable[_T]) -> Iterator[list[_T]]:
    """The items, in lists of as many as one question to the database may name."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
