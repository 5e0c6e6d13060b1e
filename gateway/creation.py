"""How does a task come to be, with its folder and its files, and perhaps with its first run?"""

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


class PresetFileMissing(Exception):
    """A file that belongs to the preset is not in the data folder."""


def preset_files(gateway: Gateway, preset: Preset | None) -> list[Path]:
    """The files that a task of this preset begins with.

    Raises
    ------
    PresetFileMissing
        If one of them is not there.
    """
    data = gateway.settings.data_path
    try:
        return [local_files.find(data, name) for name in (preset.files if preset else [])]
    except FileNotFoundError as error:
        raise PresetFileMissing(f"Its file {error} is not in the data folder.") from error


@contextmanager
def with_folder(
    gateway: Gateway, session: Session, task: Task, files: Mapping[str, IO[bytes]]
) -> Iterator[None]:
    """Make the task and its folder with these files, `complete` now: both, or neither."""
    session.add(task)
    session.flush()
    store = gateway.store
    try:
        store.create(task.id)
        for name, content in files.items():
            store.adopt(task.id, name, content)
        yield
    except BaseException:
        store.delete(task.id)
        raise


def start_first(
    gateway: Gateway, session: Session, task: Task, steps: Sequence[str], priority: int = 0
) -> Run | None:
    """Begin the run with which a new task is made, if it is made with one."""
    if not steps:
        return None
    return runs.start(gateway, session, task, steps, {}, task.user_id, priority)
