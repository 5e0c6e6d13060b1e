"""For how long is something tried that fails again and again?"""

from __future__ import annotations

import time

#: Seconds. A network file system that comes back does so in less.
LONGEST = 60.0


class Patience:
    """Since when each of some things has failed, as one process has seen it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def is_over(self, name: str) -> bool:
        """Remember that ``name`` failed now; whether it has for so long that it is given up."""
        return time.monotonic() - self._since.setdefault(name, time.monotonic()) >= LONGEST

    def forget(self, name: str) -> None:
        """``name`` has succeeded, or was given up."""
        self._since.pop(name, None)
