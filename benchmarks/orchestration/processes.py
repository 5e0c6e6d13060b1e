"""What have processes used so far: processor time and memory, themselves and all below them?"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skyrelay.stack.guard import descendants

_TICK = os.sysconf("SC_CLK_TCK")
_MIB_PER_PAGE = os.sysconf("SC_PAGE_SIZE") / 1024.0**2


def memory(processes: Mapping[str, int]) -> dict[str, float]:
    """Resident memory, in MiB, of each process with its descendants."""
    return {name: sum(map(_memory_of, _family(pid))) for name, pid in processes.items()}


@dataclass(frozen=True)
class Usage:
    """Processor seconds of each process with its descendants, and of this one, the client.

    ``others``: how many processors all the rest of the machine kept busy, on average.
    """

    by_process: dict[str, float]
    client: float
    others: float


class Meter:
    """Measures processor time from its making on."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._begun = self._now()

    def read(self) -> Usage:
        """What has been used since then."""
        by_process, client, machine, clock = (
            _difference(after, before)
            for after, before in zip(self._now(), self._begun, strict=True)
        )
        known = sum(by_process.values()) + client["client"]
        others = max(0.0, machine["all"] - known) / clock["seconds"]
        return Usage(by_process, client["client"], others)

    def _now(self) -> tuple[dict[str, float], ...]:
        return (
            {name: sum(map(_cpu_of, _family(pid))) for name, pid in self._processes.items()},
            {"client": time.process_time()},
            {"all": _cpu_of_the_machine()},
            {"seconds": time.monotonic()},
        )


def _family(pid: int) -> list[int]:
    return [pid, *descendants(pid)]


def _difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


def _cpu_of_the_machine() -> float:
    """Seconds that all processors together were not idle, since the machine came up."""
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + sum(interrupts)) / _TICK


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # It ended; its parent has inherited its time.
    own_and_reaped = fields[11:15]
    return sum(map(int, own_and_reaped)) / _TICK


def _memory_of(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _MIB_PER_PAGE
    except OSError:
        return 0.0
