"""What is said of one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """What is found; only the last is a reason for an exit code of 1."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "MEND"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do about it if anything."""

    health: Health
    what: str
    said: str
