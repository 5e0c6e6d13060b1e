"""When may a gateway make the store of the tasks?

An empty folder is the first day of an installation, or the place of a file system that is not
mounted. The database knows which.
"""

from __future__ import annotations

import logging

from sqlalchemy import func, select

from gateway.core import Gateway
from gateway.models import Task

_log = logging.getLogger(__name__)


def make_store(gateway: Gateway) -> None:
    """Make the store where there never was one, and whatever a restore has left out of it.

    A store of before there were marks is known by the folders of its first and its last task. Where
    there are tasks and no store, it is away, until it is there.
    """
    if gateway.store.is_made() or _has_folders_of_tasks(gateway):
        gateway.store.make()
    else:
        _log.error(
            "%s does not hold the tasks that there are: mount their file system, or restore their "
            "files, and start the gateway again; until then the store is away",
            gateway.store.root,
        )


def _has_folders_of_tasks(gateway: Gateway) -> bool:
    with gateway.database.reading() as session:
        ends = session.execute(select(func.min(Task.id), func.max(Task.id))).one()
    return all(gateway.store.folder(task).is_dir() for task in ends if task is not None)
