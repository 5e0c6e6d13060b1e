"""How does a task come into being with its folder, and how does it go?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import Task
from gateway.orchestration.cancel import cancel


@contextmanager
def made(
    gateway: Gateway, session: Session, task: Task, files: dict[str, IO[bytes]]
) -> Iterator[None]:
    """Make the task and its folder with these files, complete ones of the store: both, or neither.

    What may still fail is done, and committed, inside.
    """
    session.add(task)
    session.flush()
    try:
        gateway.store.create(task.id)
        for name, content in files.items():
            gateway.store.adopt(task.id, name, content)
        yield
    except BaseException:
        gateway.store.delete(task.id)
        raise


def delete(gateway: Gateway, session: Session, task: Task) -> None:
    """Delete the locked task with its files; a run of it is cancelled first."""
    if task.celery_id is not None:
        cancel(gateway, session, task, reason="the task is deleted")
    task_id = task.id
    session.delete(task)
    session.flush()
    gateway.store.delete(task_id)
