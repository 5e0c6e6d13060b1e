"""What do crashes leave behind, and who takes it away?

A process may die between a commit and what should follow it. Nothing of that is urgent; the
janitor comes by every half minute.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import select

from gateway.core import Gateway
from gateway.models import Run, RunState, now
from gateway.orchestration.advance import fail
from gateway.orchestration.cancel import NotRunning, cancel
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


def clean_up(gateway: Gateway) -> None:
    """One round."""
    on_disk = gateway.store.runs()
    _end_runs_without_folder(gateway)
    for run_id, made in on_disk.items():
        with gateway.database.reading() as session:
            run = session.get(Run, str(run_id))
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
    gateway.store.empty_trash()
    gateway.store.drop_incoming(now() - _ABANDONED_UPLOAD)


def _end_runs_without_folder(gateway: Gateway) -> None:
    """A run whose folder is gone can never go on; its messages are dropped by every replica."""
    query = select(Run).where(Run.state == RunState.OPEN, Run.created < now() - _YOUNG)
    with gateway.database.reading() as session:
        open_runs = list(session.scalars(query))
    on_disk = gateway.store.runs()
    for lost in (run for run in open_runs if run.id not in map(str, on_disk)):
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
