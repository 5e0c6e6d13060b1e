"""What does an attempt spend its time on outside its own code?

Questions to sky services and to a store on S3, and external programs. They are noted here, and
whoever has set a listener hears of them: a worker tells its replica, which counts them. At the
command line nobody listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What took the time."""

    #: One address of a sky service was asked.
    SKY = "sky"
    #: The cache of the sky services was looked into; takes no time worth mentioning.
    CACHE = "cache"
    #: An external program ran.
    PROGRAM = "program"
    #: A store on S3 was asked; there ``name`` is the operation, by the name that S3 has for it.
    STORE = "store"


class Ending(StrEnum):
    """How it ended."""

    OK = "ok"
    FAILED = "failed"
    #: The sky service says that the request is wrong.
    REFUSED = "refused"
    HIT = "hit"
    MISS = "miss"


@dataclass(frozen=True)
class Episode:
    """Something that happened; ``name`` is one of few: a service of the sky, a known program.

    ``began`` is in seconds since the epoch, ``size`` in bytes.
    """

    kind: Kind
    name: str
    ending: Ending
    began: float
    seconds: float = 0.0
    size: int = 0


_listener: Callable[[Episode], None] | None = None


def listen(listener: Callable[[Episode], None] | None) -> None:
    """Have ``listener`` called, in the thread in which it happens, with whatever is noted."""
    global _listener
    _listener = listener


def note(episode: Episode) -> None:
    """Something happened."""
    if _listener is not None:
        _listener(episode)


@dataclass
class Course:
    """An episode that is going on; whoever is in it says how it ends."""

    ending: Ending = Ending.OK
    size: int = 0


@contextmanager
def timed(kind: Kind, name: str) -> Iterator[Course]:
    """Note what happens inside; what raises has failed."""
    began, clock, course = time.time(), time.monotonic(), Course()
    try:
        yield course
    except BaseException:
        course.ending = Ending.FAILED
        raise
    finally:
        seconds = time.monotonic() - clock
        note(Episode(kind, name, course.ending, began, seconds, course.size))
