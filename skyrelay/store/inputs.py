"""Which files beyond the task's own may a stage read?

Those under the data folder, and those of tasks, by the names that clients know: relative to the
data folder, or ``tasks/<id>/<file>``; or by their whole paths, as clients of STDWeb name them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

from skyrelay.errors import Permanent
from skyrelay.settings import Settings
from skyrelay.store import open_store

#: First part of the name of a file in a task.
TASKS = "tasks"
#: Digits of a task's number.
_LONGEST_NUMBER = 18


def task_of(name: str, settings: Settings) -> int | None:
    """The task in whose folder the file ``name`` lies; None for a file in the data folder."""
    found = _in_task(name, settings)
    return None if found is None else found[0]


def check_input(name: str, settings: Settings) -> None:
    """Refuse a name that leads out of the data folder and of all tasks; nothing is fetched for it.

    Raises
    ------
    Permanent
        If it does.
    """
    if ".." in PurePosixPath(name).parts or "\0" in name:
        raise _outside(name)
    if task_of(name, settings) is None:
        _in_data_folder(name, settings)


def check_catalogue(name: str, settings: Settings) -> None:
    """Refuse the name of a catalogue that leads out of the task and of the data folder.

    Raises
    ------
    Permanent
        If it does.
    """
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
        raise Permanent(f"The catalogue '{name}' must lie in the task or in the data folder.")
    try:
        root = settings.data_path.resolve()
        leads_out = not (root / name).resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return  # A name that no file can have, or links that lead in a circle: there is none.
    if leads_out:
        raise Permanent(f"The catalogue '{name}' leads out of the data folder.")


def find_input(name: str, settings: Settings) -> Path:
    """The file that a user calls ``name``.

    Raises
    ------
    Permanent
        If it is not there, or does not lie under the data folder or in a task.
    """
    check_input(name, settings)
    found = _in_task(name, settings)
    path = _in_data_folder(name, settings) if found is None else _of_task(name, *found, settings)
    try:
        # A name that is too long is an error here, and not before.
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):
        raise _outside(name) from None
    if not there:
        raise Permanent(f"There is no file '{name}' in the data folder or the task.")
    return path


def _in_task(name: str, settings: Settings) -> tuple[int, str] | None:
    """Task and path in its folder, where the name says so: as ``tasks/7/a.fits``, or in whole."""
    parts = PurePosixPath(name).parts
    if parts[:1] == (TASKS,):
        parts = parts[1:]
    else:
        relative = _below(name, settings.tasks_path)
        parts = () if relative is None else PurePosixPath(relative).parts
    if len(parts) < 2 or not parts[0].isdecimal() or len(parts[0]) > _LONGEST_NUMBER:
        return None
    return int(parts[0]), str(PurePosixPath(*parts[1:]))


def _below(name: str, folder: Path) -> str | None:
    """The rest of a whole path that begins with the folder's, written with links or without."""
    for whole in (folder.absolute(), folder.resolve()):
        if PurePosixPath(name).is_relative_to(whole):
            return str(PurePosixPath(name).relative_to(whole))
    return None


def _in_data_folder(name: str, settings: Settings) -> Path:
    try:
        root = settings.data_path.resolve()
        path = (root / (_below(name, settings.data_path) or name)).resolve()
    except (OSError, RuntimeError, ValueError):
        raise _outside(name) from None
    # Tasks may lie in the data folder. Whose they are is asked of names that say which one.
    if not path.is_relative_to(root) or path.is_relative_to(settings.tasks_path.resolve()):
        raise _outside(name)
    return path


def _of_task(name: str, task: int, relative: str, settings: Settings) -> Path:
    if settings.tasks_url:
        with suppress(FileNotFoundError):
            open_store(settings).path(task, relative)
    try:
        root = (settings.tasks_path / str(task)).resolve()
        path = (root / relative).resolve()
    except (OSError, RuntimeError, ValueError):
        raise _outside(name) from None
    if not path.is_relative_to(root):
        raise _outside(name)
    return path


def _outside(name: str) -> Permanent:
    return Permanent(
        f"The file '{name}' does not lie in the data folder or in a task: "
        "only files there can be used."
    )
