"""How is a run stopped, wherever it is?"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import IS_OUT, LIVE, AttemptState, Run, RunState, StageAttempt, Task
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.queueing import QUEUES, Queues
from gateway.orchestration.runs import lock_task
from skyrelay import task_states
from skyrelay.messages import KillRun

_LIVE = (
    select(StageAttempt.state)
    .where(StageAttempt.run_id == bindparam("run"), StageAttempt.state.in_(LIVE))
    .with_for_update()
)
#: Runs cancelled in one transaction: others wait for so long.
_AT_ONCE = 50


class NotRunning(Exception):
    """The task has no open run."""


def cancel(gateway: Gateway, session: Session, task: Task, reason: str = "cancelled") -> int:
    """Cancel the open run of the locked task; the number of stages that were not finished.

    The run is marked in the store before the transaction ends: once anybody can read that it is
    cancelled, none of its attempts can publish anything into the task's folder.

    Raises
    ------
    NotRunning
        If there is none.
    """
    ledger = Ledger(session)
    left = _cancel(gateway, ledger, task, reason)
    Queues(gateway, ledger).release(QUEUES)
    return left


def cancel_all(gateway: Gateway, reason: str) -> int:
    """Cancel every run that is open now; how many there were."""
    count = 0
    while batch := _open_tasks(gateway):
        with gateway.database.writing() as session:
            for task_id in batch:
                task = lock_task(session, task_id)
                if task is not None and task.celery_id is not None:
                    _cancel(gateway, Ledger(session), task, reason)
                    count += 1
    return count


def _open_tasks(gateway: Gateway) -> list[int]:
    """Some tasks with an open run, those first of which a command is out."""
    still_open = select(Run.task_id).where(Run.state == RunState.OPEN).limit(_AT_ONCE)
    out = still_open.where(Run.id.in_(select(StageAttempt.run_id).where(IS_OUT)))
    with gateway.database.reading() as session:
        found = session.scalars(out).all() or session.scalars(still_open).all()
    return sorted(found)


def _cancel(gateway: Gateway, ledger: Ledger, task: Task, reason: str) -> int:
    run = ledger.read_run(task.celery_id) if task.celery_id else None
    if run is None:
        raise NotRunning
    # Locked: another transaction may be sending one of them on at this moment.
    live = ledger.connection.execute(_LIVE, {"run": run.id}).scalars().all()
    ledger.give_up_attempts(run, AttemptState.CANCELLED)
    ledger.end(run, RunState.CANCELLED, task_states.CANCELLED)
    ledger.write()
    # What the model knows of it is old now.
    ledger.session.expire(task, ["state", "celery_id", "reasons", "completed", "modified"])
    if any(state != AttemptState.WAITING for state in live):
        kill = KillRun(run=UUID(run.id), task=run.task_id, reason=reason)
        gateway.outbox.add(ledger.session, kill)
    gateway.store.cancel_run(run.task_id, UUID(run.id))
    return len(run.steps) - run.position
