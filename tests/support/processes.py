"""What do tests ask about processes that are not theirs to wait for?"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie that nobody has reaped yet."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], object], seconds: float = 180.0) -> bool:
    """Whether the condition came true; the time is a bound for a hung test, not a measure."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def processes_with(text: str) -> dict[int, str]:
    """Process id and command line of every process that has `text` in its environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # It ended, or it is another user's.
        if text.encode() in environment:
            found[int(entry.name)] = command_of(int(entry.name))
    return found


def command_of(pid: int) -> str:
    """The command line of a process; the empty text if it has ended."""
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()


def children_of(pid: int) -> list[int]:
    """Living children of a process, whichever of its threads has started them.

    The kernel's own list of a thread's children leaves some out while others end.
    """
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(each for each in pids if parent_of(each) == pid and is_alive(each))


def parent_of(pid: int) -> int:
    """The parent of a process; 0 if there is no such process."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
