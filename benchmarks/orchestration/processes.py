"""What have processes used so far: processor time and memory, themselves and all below them?"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skyrelay.stack.guard import descendants

_TICK = os.sysconf("SC_CLK_TCK")
_MIB_PER_PAGE = os.sysconf("SC_PAGE_SIZE") / 1024.0**2


def memory(processes: Mapping[str, int]) -> dict[str, float]:
    """Resident memory, in MiB, of each process with its descendants."""
    return {name: sum(map(_memory_of, _family(pid))) for name, pid in processes.items()}


def proportional_memory(processes: Mapping[str, int]) -> dict[str, float]:
    """Memory, in MiB, of each process with its descendants; what they share is counted once.

    Dear where there are many processes or large ones: some 20 ms of a core.
    """
    return {name: sum(map(_share_of, family)) for name, family in _families(processes).items()}


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


def _families(processes: Mapping[str, int]) -> dict[str, list[int]]:
    """The process ids of each with its descendants, by one look at all."""
    below: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):  # It ended while we looked.
                stat = Path("/proc", entry, "stat").read_text().rpartition(")")[2]
                below.setdefault(int(stat.split()[1]), []).append(int(entry))
    families = {}
    for name, pid in processes.items():
        families[name] = [pid]
        for each in families[name]:  # It grows as we go.
            families[name] += below.get(each, ())
    return families


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


def _share_of(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # It ended, or is a zombie.
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(kilobytes) / 1024
