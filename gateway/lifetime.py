"""How does a task come into being with its folder, and how does it go?

The database decides, and may not say what it has decided: the line may break between a commit and
its answer. So a task is marked in the store as not settled before its folder is made, or before its
row goes, until both agree. Where nobody came to take the mark away, the janitor looks later.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
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
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)


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

    What may still fail is done inside; it is committed at the end.
    """
    with _with_folder(gateway, session, task):
        gateway.store.create(task.id)
        for name, content in files.items():
            gateway.store.adopt(task.id, name, content)
        yield


@contextmanager
def copied(
    gateway: Gateway, session: Session, source: int, task: Task, names: Set[str] | None
) -> Iterator[None]:
    """As `made`, with the files that the task ``source`` has; ``names``: see `duplicate`."""
    with _with_folder(gateway, session, task):
        gateway.store.duplicate(source, task.id, names)
        yield


@contextmanager
def _with_folder(gateway: Gateway, session: Session, task: Task) -> Iterator[None]:
    """Make the task, whose folder is made inside, and commit."""
    session.add(task)
    session.flush()
    logs.know(task=task.id)
    try:
        gateway.store.unsettle(task.id)
        yield
        session.flush()
    except BaseException:
        # After an error of the database the transaction is over, and SQLite may have given the
        # number to somebody else: then it is left to the janitor, who asks first.
        if session.is_active:
            _delete_files(gateway, task.id)
        raise
    # What fails from here on may be committed all the same: its files are not ours to delete.
    session.commit()
    _settle(gateway, task.id)


def start_first(
    gateway: Gateway, session: Session, task: Task, steps: Sequence[str], priority: int = 0
) -> Run | None:
    """Begin the run with which a new task is made, if it is made with one."""
    if not steps:
        return None
    return runs.start(gateway, session, task, steps, {}, task.user_id, priority)


def delete(gateway: Gateway, session: Session, task: Task) -> None:
    """Delete the locked task, commit that, and delete its files; its run is cancelled first.

    They are in the store's trash then or, where the store does not do it, left to the janitor.
    """
    task_id = task.id
    _unsettle(gateway, task_id)
    if task.celery_id is not None:
        cancel(gateway, session, task, reason="the task is deleted")
    session.delete(task)
    # A task whose commit fails is still there, and needs its files.
    session.commit()
    _delete_files(gateway, task_id)


def _unsettle(gateway: Gateway, task_id: int) -> None:
    try:
        gateway.store.unsettle(task_id)
    except OSError as error:
        # On a full disk nothing can be marked; there, of all places, tasks must be deleted.
        if not is_full(error) and not gateway.store.answers():
            raise


def _delete_files(gateway: Gateway, task_id: int) -> None:
    try:
        gateway.store.delete(task_id)
        gateway.store.settle(task_id)
    except OSError:
        with logs.about(task=task_id):
            _log.exception("its files cannot be deleted; the janitor tries again")


def _settle(gateway: Gateway, task_id: int) -> None:
    try:
        gateway.store.settle(task_id)
    except OSError as error:
        with logs.about(task=task_id):
            _log.warning("it stays marked as not settled until the janitor comes: %s", error)
