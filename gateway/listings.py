"""How is a page of a long list found without counting through what lies before it?

The numbers of all tasks of a list are kept, in order. Triggers note, together with what they belong
to, which tasks may have entered a list or left it. Whichever process made the change, the next page
is of the new list: only the tasks that have changed since are looked for again. States change all
the time, which concerns lists of one state alone.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import neg
from typing import Any

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from gateway.database import Database
from gateway.models import ListChange, now

#: Seconds for which a list is kept, and for which a change must be remembered to be noticed.
_KEPT = 600.0
_REMEMBERED = timedelta(hours=1)
#: Numbers, of four bytes each, and lists that one process keeps.
_MOST_NUMBERS, _MOST_LISTS = 4_000_000, 1000
#: After more changes a list is found anew: that is quicker then.
_MOST_CHANGES = 500
#: What is noted where the tasks that are concerned are not known.
_ANY = 0
#: More threads than this never look for lists at once.
_LOCKS = 64

# A transaction that a snapshot does not see has been, or will be, committed after it was taken.
_POSTGRESQL_MOMENT = text("SELECT pg_current_snapshot()::text")
_POSTGRESQL_CHANGES = """
    SELECT pg_current_snapshot()::text, changed.task_id FROM (SELECT) AS always LEFT JOIN
    (SELECT task_id FROM list_changes
    WHERE writer >= pg_snapshot_xmin(CAST(:moment AS pg_snapshot))::text::bigint
    AND NOT pg_visible_in_snapshot(writer::text::xid8, CAST(:moment AS pg_snapshot)) {which}
    LIMIT :most) AS changed ON true
"""
_SQLITE_MOMENT = text("SELECT coalesce(max(id), 0) FROM list_changes")
_SQLITE_CHANGES = """
    SELECT newest.id, changed.task_id
    FROM (SELECT coalesce(max(id), 0) AS id FROM list_changes) AS newest LEFT JOIN
    (SELECT task_id FROM list_changes WHERE id > :moment {which} LIMIT :most) AS changed ON true
"""
#: Which changes concern a list: of one state, or not.
_WHICH = {True: "", False: "AND NOT of_state"}

#: Looks for the tasks of a list, newest first: for all of them, or among those that are given.
Find = Callable[[Sequence[int] | None], Iterable[int]]


@dataclass(frozen=True)
class _Listing:
    """The numbers of a list as it was at a moment, newest first."""

    numbers: array[int]
    moment: Any
    until: float


class Listings:
    """The lists that this process has been asked for of late."""

    def __init__(self, database: Database) -> None:
        on_sqlite = database.is_sqlite
        self._moment = _SQLITE_MOMENT if on_sqlite else _POSTGRESQL_MOMENT
        changes = _SQLITE_CHANGES if on_sqlite else _POSTGRESQL_CHANGES
        self._changes = {key: text(changes.format(which=each)) for key, each in _WHICH.items()}
        self._kept: OrderedDict[Hashable, _Listing] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()
        self._finding = [threading.Lock() for _ in range(_LOCKS)]

    def numbers(
        self, session: Session, key: Hashable, find: Find, *, of_state: bool = False
    ) -> array[int]:
        """The numbers of the tasks that ``find`` finds, newest first; kept under the key.

        ``of_state``: whether it finds only tasks of one state.
        """
        found = self._known(session, key, find, of_state)
        if found is None:
            # One at a time: others who want the same then find it.
            with self._finding[hash(key) % _LOCKS]:
                found = self._known(session, key, find, of_state)
                if found is None:
                    # Asked before: a change in between is made good for, and never overlooked.
                    moment = session.scalar(self._moment)
                    found = self._keep(key, array("i", find(None)), moment)
        return found

    def _known(
        self, session: Session, key: Hashable, find: Find, of_state: bool
    ) -> array[int] | None:
        with self._lock:
            listing = self._kept.get(key)
        if listing is None or listing.until < time.monotonic():
            return None
        given = {"moment": listing.moment, "most": _MOST_CHANGES + 1}
        found = session.execute(self._changes[of_state], given).all()
        moment, changed = found[0][0], {task for _, task in found} - {None}
        if _ANY in changed or len(found) > _MOST_CHANGES:
            return None
        numbers = listing.numbers
        if changed:
            numbers = _followed(numbers, changed, set(find(sorted(changed))))
        return self._keep(key, numbers, moment)

    def _keep(self, key: Hashable, numbers: array[int], moment: Any) -> array[int]:
        with self._lock:
            old = self._kept.pop(key, None)
            self._count += len(numbers) - (len(old.numbers) if old else 0)
            self._kept[key] = _Listing(numbers, moment, time.monotonic() + _KEPT)
            while self._count > _MOST_NUMBERS or len(self._kept) > _MOST_LISTS:
                _, dropped = self._kept.popitem(last=False)
                self._count -= len(dropped.numbers)
        return numbers


def _followed(numbers: array[int], changed: set[int], found: set[int]) -> array[int]:
    """The list after some tasks have changed, of which some are found now."""
    followed = numbers[:]
    for number in changed:
        place = bisect_left(followed, -number, key=neg)
        was_there = place < len(followed) and followed[place] == number
        if was_there and number not in found:
            del followed[place]
        elif not was_there and number in found:
            followed.insert(place, number)
    return followed


def forget_changes(session: Session) -> None:
    """Remove the notes of changes that are older than every list that is kept."""
    session.execute(delete(ListChange).where(ListChange.moment < now() - _REMEMBERED))
