"""Is this the folder of the tasks, or the place where it should be mounted?

Where a file system is not mounted there is an empty folder, or what somebody has left in it. All
files look gone then, and nothing is. So a store has a mark, and what is missing in a folder
without it says nothing about any run.
"""

from __future__ import annotations

import os
from pathlib import Path

RUNS = ".runs"
#: In the folder of every store, from its first day on.
MARK = ".skyrelay-store"


class StoreAway(OSError):
    """The store cannot be asked now: nothing is known of what it holds."""


class StoreMissing(StoreAway):
    """The folder of the tasks is not the one that it should be: the store is away."""


def check(root: Path) -> None:
    """Do nothing, if there is a store.

    Raises
    ------
    StoreMissing
        If there is none.
    OSError
        If that cannot be seen now.
    """
    for name in (MARK, RUNS):
        try:
            os.stat(root / name)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreMissing(
                f"there is no store of tasks in {root} ({name} is missing): its file system is not "
                "mounted, or no gateway has made it yet"
            ) from error


def is_gone(root: Path, folder: Path) -> bool:
    """Whether a folder of the store is not there any more; raises what `check` does."""
    if folder.is_dir():
        return False
    check(root)
    # The file system may have come back between the two looks.
    return not folder.is_dir()
