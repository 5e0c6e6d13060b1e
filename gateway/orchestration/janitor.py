"""What do crashes leave behind, and who takes it away?

A process may die between a commit and what should follow it. Nothing of that is urgent; the
janitor comes by every half minute.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select

from gateway.core import Gateway
from gateway.models import Run, RunState, Task, now
from gateway.orchestration.cancel import NotRunning, cancel
from gateway.orchestration.outcomes import fail
from gateway.orchestration.runs import lock_task

_log = logging.getLogger(__name__)

#: Seconds between two rounds.
ROUND = 30.0
#: What is younger may still be in somebody's hands: a stage that is being stopped, a transaction
#: that is being committed.
_YOUNG = timedelta(minutes=1)
#: A folder without a row in the database is a transaction that was never committed.
_ORPHAN = timedelta(minutes=10)
#: An upload may take long, but not this long.
_ABANDONED_UPLOAD = timedelta(days=1)
#: Rows asked for in one question.
_CHUNK = 500

_T = TypeVar("_T")


def clean_up(gateway: Gateway) -> None:
    """One round."""
    _end_runs_without_folder(gateway)
    _close_runs(gateway)
    _drop_orphans(gateway)
    gateway.store.empty_trash()
    gateway.store.drop_incoming(now() - _ABANDONED_UPLOAD)


def _close_runs(gateway: Gateway) -> None:
    """Take away the folders of runs that are over."""
    on_disk = gateway.store.runs()
    for chunk in _batched(on_disk.items()):
        known = _runs(gateway, [str(run_id) for run_id, _ in chunk])
        for run_id, made in chunk:
            try:
                _close_if_over(gateway, run_id, made, known.get(str(run_id)))
            except OSError:
                # One folder that cannot be touched is no reason to leave the others.
                _log.exception("cannot clear away run %s", run_id)


def _runs(gateway: Gateway, ids: Sequence[str]) -> dict[str, Run]:
    with gateway.database.reading() as session:
        return {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(ids)))}


def _close_if_over(gateway: Gateway, run_id: UUID, made: datetime, run: Run | None) -> None:
    if run is None:
        over = now() - made > _ORPHAN
    elif run.ended is None:
        over = False
        if gateway.store.is_cancelled(run_id) and now() - made > _YOUNG:
            _cancel_again(gateway, run)
    else:
        over = now() - run.ended > _YOUNG
    if over:
        gateway.store.close_run(run_id)


def _drop_orphans(gateway: Gateway) -> None:
    """Versions of folders that were never published, and locks of tasks that are deleted."""
    for chunk in _batched(sorted(gateway.store.orphans())):
        with gateway.database.reading() as session:
            known = set(session.scalars(select(Task.id).where(Task.id.in_(chunk))))
        for task in chunk:
            try:
                gateway.store.drop_orphans(task, gone=task not in known)
            except OSError:
                _log.exception("cannot clear away what is left of task %d", task)


def _end_runs_without_folder(gateway: Gateway) -> None:
    """A run whose folder is gone can never go on; its messages are dropped by every replica."""
    query = select(Run).where(Run.state == RunState.OPEN, Run.created < now() - _YOUNG)
    with gateway.database.reading() as session:
        open_runs = list(session.scalars(query))
    on_disk = {str(run) for run in gateway.store.runs()}
    for lost in (run for run in open_runs if run.id not in on_disk):
        with gateway.database.writing() as session:
            task = lock_task(session, lost.task_id)
            run = session.get(Run, lost.id)
            if task is not None and run is not None and run.state == RunState.OPEN:
                _log.error("run %s of task %d has lost its folder", run.id, task.id)
                fail(gateway, session, task, run, "The files of this run are gone.")


def _cancel_again(gateway: Gateway, found: Run) -> None:
    """The gateway died between the mark in the store and the commit."""
    with gateway.database.writing() as session:
        task = lock_task(session, found.task_id)
        if task is not None and task.celery_id == found.id:
            try:
                cancel(gateway, session, task)
            except NotRunning:
                return
            _log.warning("run %s had been cancelled by half; now it is", found.id)


def _batched(items: Iterable[_T]) -> Iterator[list[_T]]:
    """The items, in lists of as many as one question to the database may name."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
