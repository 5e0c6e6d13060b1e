"""How does a task come into being with its folder, and how does it go?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from gateway import local_files
from gateway.core import Gateway
from gateway.models import Preset, Run, Task
from gateway.orchestration import runs
from gateway.orchestration.cancel import cancel
from skyrelay import logs


class PresetFileMissing(Exception):
    """A file that belongs to the preset is not in the data folder."""


def preset_files(gateway: Gateway, preset: Preset | None) -> list[Path]:
    """The files that a task of this preset begins with.

    Raises
    ------
    PresetFileMissing
        If one of them is not there.
    """
    settings = gateway.settings
    try:
        return [local_files.find(settings, name) for name in (preset.files if preset else [])]
    except FileNotFoundError as error:
        raise PresetFileMissing(f"Its file {error} is not in the data folder.") from error


@contextmanager
def made(
    gateway: Gateway, session: Session, task: Task, files: Mapping[str, IO[bytes]]
) -> Iterator[None]:
    """Make the task and its folder with these files, complete ones of the store: both, or neither.

    What may still fail is done, and committed, inside.
    """
    session.add(task)
    session.flush()
    logs.know(task=task.id)
    try:
        gateway.store.create(task.id)
        for name, content in files.items():
            gateway.store.adopt(task.id, name, content)
        yield
    except BaseException:
        gateway.store.delete(task.id)
        raise


def start_first(
    gateway: Gateway, session: Session, task: Task, steps: Sequence[str], priority: int = 0
) -> Run | None:
    """Begin the run with which a new task is made, if it is made with one."""
    if not steps:
        return None
    return runs.start(gateway, session, task, steps, {}, task.user_id, priority)


def delete(gateway: Gateway, session: Session, task: Task) -> None:
    """Delete the locked task with its files; a run of it is cancelled first."""
    if task.celery_id is not None:
        cancel(gateway, session, task, reason="the task is deleted")
    task_id = task.id
    session.delete(task)
    session.flush()
    gateway.store.delete(task_id)
