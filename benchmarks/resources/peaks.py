"""How much memory and processor time does each process of an installation take, at its worst?"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.orchestration.processes import Meter, proportional_memory

#: Seconds between two looks.
PAUSE = 0.5


@dataclass(frozen=True)
class Need:
    """What a process with all below it took: ``memory`` in MiB at its peak, ``cpu`` in seconds."""

    memory: float
    cpu: float


class Peaks:
    """Looks every moment, in a thread, from entering to leaving."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._most = dict.fromkeys(processes, 0.0)
        self._meter = Meter(processes)
        self._cpu: Mapping[str, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peaks")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._cpu = self._meter.read().by_process

    def of(self, name: str) -> Need:
        """What this process took, once it is over."""
        return Need(round(self._most[name]), round(self._cpu[name], 1))

    def _watch(self) -> None:
        while not self._stopped.wait(PAUSE):
            for name, size in proportional_memory(self._processes).items():
                self._most[name] = max(self._most[name], size)
