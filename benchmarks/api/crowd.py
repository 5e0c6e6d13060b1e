"""What do eight who look at pictures cost, in memory and for those who ask for something else?"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.api.load import Answered, Question, ask

#: Seconds between looks at the memory.
_LOOK = 0.2


def ask_beside(
    url: str,
    token: str,
    asked: Question,
    crowd: Question,
    seconds: int,
    scratch: Path,
    group: int,
) -> Answered:
    """Ask one question while a crowd asks another; with the most memory of the server meanwhile.

    Parameters
    ----------
    group : int
        Process group of the server.
    """
    over = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        memory = pool.submit(_most_memory, group, over)
        crowding = pool.submit(ask, url, token, crowd, seconds, scratch)
        try:
            answered = ask(url, token, asked, seconds, scratch)
            crowding.result()
        finally:
            over.set()
    return replace(answered, memory=memory.result())


def _most_memory(group: int, over: threading.Event) -> float:
    most = 0.0
    while not over.wait(_LOOK):
        most = max(most, _memory(group))
    return most


def _memory(group: int) -> float:
    """MiB of all processes of the group; what they share counts once."""
    total = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            if os.getpgid(int(entry.name)) == group:
                text = (entry / "smaps_rollup").read_text()
                total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1024
