"""How many requests may wait for something slow, so that threads are left for all others?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway import current


@contextmanager
def room_to_wait() -> Iterator[bool]:
    """Whether this request may wait inside; where it may not, too many do already."""
    room = current.room()
    may_wait = room.acquire(blocking=False)
    try:
        yield may_wait
    finally:
        if may_wait:
            room.release()
