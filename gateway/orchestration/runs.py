"""How does a run begin?

Everybody here works inside a transaction that holds the lock of the task's row, so that a run
and its task never disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import Run, RunState, Task
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.queueing import Queues
from skyrelay import logs, task_states

_LOCK = (
    select(Task)
    .where(Task.id == bindparam("task"))
    .with_for_update(of=Task)
    .execution_options(populate_existing=True)
)
_HOLD = (
    select(Task.id)
    .where(Task.id.in_(bindparam("tasks", expanding=True)))
    .order_by(Task.id)
    .with_for_update()
)


class AlreadyRunning(Exception):
    """The task has an open run."""


def lock_task(session: Session, task_id: int) -> Task | None:
    """The task, with nobody else changing it until the end of the transaction."""
    return session.scalar(_LOCK, {"task": task_id})


def hold_tasks(session: Session, task_ids: Collection[int]) -> None:
    """Let nobody else change these tasks until the end of the transaction.

    Everybody holds several tasks in the order of their numbers, so that nobody waits in a circle.
    On SQLite a transaction that writes is the only one anyhow.
    """
    if session.get_bind().dialect.name == "sqlite":
        return
    session.execute(_HOLD, {"tasks": task_ids}).all()


def start(
    gateway: Gateway,
    session: Session,
    task: Task,
    steps: Sequence[str],
    config: dict[str, Any],
    user_id: int | None,
    priority: int = 0,
) -> Run:
    """Begin a run of the locked task; ``config`` is merged into that of the task.

    Runs of higher ``priority`` overtake others that wait for the same stage.

    Raises
    ------
    AlreadyRunning
        If the task has an open run.
    """
    if task.celery_id is not None:
        raise AlreadyRunning
    run = Run(
        id=str(uuid4()),
        task_id=task.id,
        user_id=user_id,
        steps=list(steps),
        state=RunState.OPEN,
        position=0,
        parts=0,
        priority=priority,
        reasons=[],
    )
    logs.know(task=task.id, run=run.id)
    session.add(run)
    task.celery_id = run.id
    task.state = task_states.RUNNING
    task.config = task.config | config
    task.reasons = []
    task.completed = None
    session.flush()
    # Last, so that hardly anything can go wrong between the folder and the commit; what a crash
    # here leaves on the disk, the janitor takes away.
    key = gateway.store.create_run(UUID(run.id), task.config)
    Queues(gateway, Ledger(session)).enqueue(run, key)
    return run
