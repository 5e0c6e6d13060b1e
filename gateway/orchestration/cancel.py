"""How is a run stopped, wherever it is?"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import AttemptState, Run, RunState, Task
from gateway.orchestration.queueing import QUEUES, release
from gateway.orchestration.runs import end, give_up_attempts
from skyrelay.messages import KillRun


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
    run = session.get(Run, task.celery_id) if task.celery_id else None
    if run is None:
        raise NotRunning
    give_up_attempts(session, run, AttemptState.CANCELLED)
    end(run, task, RunState.CANCELLED, "cancelled")
    release(gateway, session, QUEUES)
    gateway.outbox.add(session, KillRun(run=UUID(run.id), task=task.id, reason=reason))
    gateway.store.cancel_run(task.id, UUID(run.id))
    return len(run.steps) - run.position
