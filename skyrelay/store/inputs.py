"""Which files beyond the task's own may a stage read?

Those under the data folder, and those of tasks, by the names that clients know: relative to the
data folder, or ``tasks/<id>/<file>``.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

from skyrelay.errors import Permanent
from skyrelay.settings import Settings
from skyrelay.store import open_store

#: First part of the name of a file in a task.
TASKS = "tasks"


def task_of(name: str) -> int | None:
    """The task in whose folder the file ``name`` lies; None for a file in the data folder."""
    parts = PurePosixPath(name).parts
    return int(parts[1]) if len(parts) > 2 and parts[0] == TASKS and parts[1].isdecimal() else None


def find_input(name: str, settings: Settings) -> Path:
    """The file that a user calls ``name``.

    Raises
    ------
    Permanent
        If it is not there, or does not lie under the data folder or in a task.
    """
    root, relative = _root_and_path(name, settings)
    if ".." in PurePosixPath(name).parts or "\0" in name:
        raise _outside(name)
    try:
        root = root.resolve()
        path = (root / relative).resolve()
        # A name that is too long is an error here, and not before.
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):
        raise _outside(name) from None
    tasks = settings.tasks_path.resolve()
    if not path.is_relative_to(root) or (task_of(name) is None and path.is_relative_to(tasks)):
        # Whose task it is, is asked of those names only that say which one they mean.
        raise _outside(name)
    if not there:
        raise Permanent(f"There is no file '{name}' in the data folder or the task.")
    return path


def _root_and_path(name: str, settings: Settings) -> tuple[Path, str]:
    """The folder that the file must not lead out of, and its path there."""
    task = task_of(name)
    if task is not None:
        relative = str(PurePosixPath(*PurePosixPath(name).parts[2:]))
        if settings.tasks_url:
            with suppress(FileNotFoundError):
                open_store(settings).path(task, relative)
        return settings.tasks_path / str(task), relative
    data = settings.data_path.absolute()
    if PurePosixPath(name).is_absolute():
        # Where the data folder is known by its whole path, files in it are so, too.
        for folder in (data, data.resolve()):
            if PurePosixPath(name).is_relative_to(folder):
                return data, str(PurePosixPath(name).relative_to(folder))
    return data, name


def _outside(name: str) -> Permanent:
    return Permanent(
        f"The file '{name}' does not lie in the data folder or in a task: "
        "only files there can be used."
    )
