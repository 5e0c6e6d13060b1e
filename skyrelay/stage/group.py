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
        if entry.isdigit() and (status := _status(int(entry))):
            yield int(entry), *status


def _status(pid: int) -> tuple[str, int, int] | None:
    """State, group and session of a process; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name, in parentheses, may itself hold blanks and parentheses.
            state, _, group, session = file.read().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return state, int(group), int(session)


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
        _signal(-leader, signal.SIGTERM)
        asked = members(leader) - {guard}
        for pid in asked:
            # Again for most of them, but some are in groups of their own.
            _signal(pid, signal.SIGTERM)
        _wait_for(asked, leader, grace, sleep)
    while living := members(leader):
        _signal(-leader, signal.SIGKILL)
        for pid in living:
            _signal(pid, signal.SIGKILL)
        _wait_for(living, leader, 1.0, sleep)


def _signal(target: int, number: signal.Signals) -> None:
    """Signal a process, or a group if ``target`` is negative."""
    with suppress(ProcessLookupError):
        os.kill(target, number)


def _wait_for(pids: set[int], leader: int, seconds: float, sleep: Callable[[float], None]) -> None:
    """Wait until these members are gone; a look at a few costs less than one at all processes."""
    pause, waited = _FIRST_LOOK, 0.0
    while any(_lives(pid, leader) for pid in pids) and waited < seconds:
        sleep(pause)
        waited += pause
        pause = min(2 * pause, _LAST_LOOK)


def _lives(pid: int, leader: int) -> bool:
    status = _status(pid)
    return status is not None and status[0] not in "ZX" and leader in status[1:]
