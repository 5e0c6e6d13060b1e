"""How is a page of a long list found without counting through what lies before it?

The numbers of all tasks of a list are kept, in order, for as long as no change to any list has
been committed. Triggers note such changes together with what they belong to, so whichever process
made one, the next page is of the new list. States are not watched, for they change all the time.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, delete, text
from sqlalchemy.orm import Session

from gateway.database import Database
from gateway.models import ListChange, Task, now

#: Seconds for which a list is kept, and for which a change must be remembered to be noticed.
_KEPT = 600.0
_REMEMBERED = timedelta(hours=1)
#: Numbers, of four bytes each, and lists that one process keeps.
_MOST_NUMBERS, _MOST_LISTS = 4_000_000, 1000
#: More threads than this never look for lists at once.
_LOCKS = 64

# A transaction that a snapshot does not see has been, or will be, committed after it was taken.
_POSTGRESQL_MOMENT = text("SELECT pg_current_snapshot()::text")
_POSTGRESQL_CHANGED = text(
    "SELECT EXISTS (SELECT FROM list_changes"
    " WHERE id >= pg_snapshot_xmin(CAST(:moment AS pg_snapshot))::text::bigint"
    " AND NOT pg_visible_in_snapshot(id::text::xid8, CAST(:moment AS pg_snapshot)))"
)
_SQLITE_MOMENT = text("SELECT coalesce(max(id), 0) FROM list_changes")
_SQLITE_CHANGED = text("SELECT coalesce(max(id), 0) <> :moment FROM list_changes")


@dataclass(frozen=True)
class _Listing:
    numbers: array[int]
    moment: Any
    until: float


class Listings:
    """The lists that this process has been asked for of late."""

    def __init__(self, database: Database) -> None:
        on_sqlite = database.is_sqlite
        self._moment = _SQLITE_MOMENT if on_sqlite else _POSTGRESQL_MOMENT
        self._changed = _SQLITE_CHANGED if on_sqlite else _POSTGRESQL_CHANGED
        self._kept: OrderedDict[Hashable, _Listing] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()
        self._finding = [threading.Lock() for _ in range(_LOCKS)]

    def numbers(
        self, session: Session, key: Hashable, chosen: Callable[[], Select[Any]]
    ) -> array[int]:
        """The numbers of the chosen tasks, newest first; they are kept under the key."""
        found = self._known(session, key)
        if found is None:
            # One at a time: others who want the same then find it.
            with self._finding[hash(key) % _LOCKS]:
                found = self._known(session, key)
                if found is None:
                    found = self._find(session, key, chosen())
        return found

    def _known(self, session: Session, key: Hashable) -> array[int] | None:
        with self._lock:
            listing = self._kept.get(key)
            if listing is not None:
                self._kept.move_to_end(key)
        if listing is None or listing.until < time.monotonic():
            return None
        changed = session.scalar(self._changed, {"moment": listing.moment})
        return None if changed else listing.numbers

    def _find(self, session: Session, key: Hashable, chosen: Select[Any]) -> array[int]:
        # Asked before: a change in between makes the list old, and is never overlooked.
        moment = session.scalar(self._moment)
        numbers = array("i", session.scalars(chosen.order_by(Task.id.desc())))
        self._keep(key, _Listing(numbers, moment, time.monotonic() + _KEPT))
        return numbers

    def _keep(self, key: Hashable, listing: _Listing) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._count += len(listing.numbers) - (len(old.numbers) if old else 0)
            self._kept[key] = listing
            while self._count > _MOST_NUMBERS or len(self._kept) > _MOST_LISTS:
                _, dropped = self._kept.popitem(last=False)
                self._count -= len(dropped.numbers)


def forget_changes(session: Session) -> None:
    """Remove the notes of changes that are older than every list that is kept."""
    session.execute(delete(ListChange).where(ListChange.moment < now() - _REMEMBERED))
