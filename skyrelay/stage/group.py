"""Who lives in a process group, and how is the group ended for certain?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

#: First and longest pause between two looks at whether the group is gone, in seconds.
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.02


def members(leader: int) -> set[int]:
    """Living processes in the group or the session that ``leader`` leads, zombies left out.

    Signalling the group would count zombies as alive, and would miss a child that has made a
    group of its own.
    """
    return {
        pid
        for pid, state, group, session in _processes()
        if leader in (group, session) and state not in "ZX"
    }


def _processes() -> Iterator[tuple[int, str, int, int]]:
    """Process id, state, group and session of all processes."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                # The name, in parentheses, may itself hold blanks and parentheses.
                state, _, group, session = file.read().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        yield int(entry), state, int(group), int(session)


def end(leader: int, grace: float, guard: int | None, sleep: Callable[[float], None]) -> None:
    """SIGTERM the group, wait up to ``grace`` seconds, SIGKILL what is left, until nothing is.

    Parameters
    ----------
    guard : int or None
        The member that outlives SIGTERM and is not waited for; None: no SIGTERM at all, because
        nothing worth asking runs yet.
    sleep : callable
        How to wait.
    """
    if guard is not None:
        _signal_group(leader, signal.SIGTERM)
        _wait(lambda: not members(leader) - {guard}, grace, sleep)
    while living := members(leader):
        _signal_group(leader, signal.SIGKILL)
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait(lambda: not members(leader), 1.0, sleep)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def _wait(done: Callable[[], bool], seconds: float, sleep: Callable[[float], None]) -> None:
    pause, waited = _FIRST_LOOK, 0.0
    while not done() and waited < seconds:
        sleep(pause)
        waited += pause
        pause = min(2 * pause, _LAST_LOOK)
