"""When may a gateway make the store of the tasks?

An empty folder is the first day of an installation, or the place of a file system that is not
mounted. The database knows which.
"""

from __future__ import annotations

import logging

from sqlalchemy import select

from gateway.core import Gateway
from gateway.models import Task

_log = logging.getLogger(__name__)


def make_store(gateway: Gateway) -> None:
    """Make the store where there never was one, and whatever a restore has left out of it.

    Where there are tasks and nothing of a store, it is away, until it is there.
    """
    if gateway.store.is_made() or not _has_tasks(gateway):
        gateway.store.make()
    else:
        _log.error(
            "%s is empty, although there are tasks: mount their file system, or restore their "
            "files, and start the gateway again; until then the store is away",
            gateway.store.root,
        )


def _has_tasks(gateway: Gateway) -> bool:
    with gateway.database.reading() as session:
        return session.scalar(select(Task.id).limit(1)) is not None
