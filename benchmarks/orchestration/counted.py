"""How many statements does a process of the gateway send to its database?

``python -m benchmarks.orchestration.counted FOLDER gateway web ...`` runs the gateway as
``python -m gateway web ...`` does, and counts into a file of FOLDER for each process.
"""

from __future__ import annotations

import mmap
import os
import runpy
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

_SIZE = 16  # two numbers of eight bytes


@dataclass(frozen=True)
class Statements:
    """What was sent; the beginning of a transaction is a statement, its end is a commit."""

    statements: int
    commits: int

    def __sub__(self, before: Statements) -> Statements:
        return Statements(self.statements - before.statements, self.commits - before.commits)


def counted_in(folder: Path) -> Statements:
    """The sum over all processes that count into ``folder``."""
    found = [memoryview(path.read_bytes()).cast("Q") for path in folder.glob("*.count")]
    return Statements(sum(counts[0] for counts in found), sum(counts[1] for counts in found))


class _Counter:
    """Counts in shared memory, which outlives the process; a forked process has its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._lock = threading.Lock()

    def add(self, column: int) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._open()
            self._counts[column] += 1

    def _open(self) -> None:
        self._pid = os.getpid()
        path = self._folder / f"{self._pid}.count"
        path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("Q")


def main() -> None:
    """Count, and be the module that the command line names."""
    folder, module, *arguments = sys.argv[1:]
    counter = _Counter(Path(folder))

    @event.listens_for(Engine, "before_cursor_execute")
    def on_statement(*_: Any) -> None:
        counter.add(0)

    @event.listens_for(Engine, "commit")
    def on_commit(_: Any) -> None:
        counter.add(1)

    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
