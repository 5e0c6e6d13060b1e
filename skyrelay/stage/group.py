"""Who belongs to a worker, however detached, and how is all of it ended for certain?

A child that makes a session of its own leaves the worker's group, and when its own parent ends it
becomes a child of the worker, which adopts orphans. So whatever a worker has started is to be
found below it for as long as the worker itself lives: the worker is stopped first and killed last.
When a worker has died by itself, for memory say, what has a session of its own is found by the
mark that all of a worker's processes have in their environment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Set
from contextlib import suppress
from typing import NamedTuple

#: Name of the mark in the environment of a worker and of all that it has started.
MARK_VARIABLE = "SKYRELAY_WORKER"

#: First and longest pause between two looks at whether the group is gone, in seconds.
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.005


class Member(NamedTuple):
    """A process; its start, in clock ticks since boot, tells it from a later one of its number."""

    pid: int
    started: int


class _Status(NamedTuple):
    state: str
    parent: int
    group: int
    session: int
    started: int

    @property
    def lives(self) -> bool:
        return self.state not in "ZX"


def members(leader: int, mark: str = "") -> set[Member]:
    """Living processes in the group or session of ``leader``, and all their descendants.

    Zombies are left out; signalling the group would count them as alive. When the leader is dead
    its descendants are not known any more: then whatever bears its ``mark``.
    """
    table = _processes()
    children: dict[int, list[int]] = {}
    for pid, status in table.items():
        children.setdefault(status.parent, []).append(pid)
    ahead = [pid for pid, status in table.items() if leader in (status.group, status.session)]
    if mark and not (leader in table and table[leader].lives):
        ahead += [pid for pid in table if _bears(pid, mark)]
    found: set[int] = set()
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += children.get(pid, ())
    return {Member(pid, table[pid].started) for pid in found if table[pid].lives}


def _processes() -> dict[int, _Status]:
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return {pid: status for pid in pids if (status := _status(pid))}


def _bears(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK_VARIABLE}={mark}".encode() in file.read().split(b"\0")
    except OSError:
        return False  # It has ended, or is another user's.


def _status(pid: int) -> _Status | None:
    """What the kernel says of a process; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name, in parentheses, may itself hold blanks and parentheses.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    parent, group, session = map(int, fields[1:4])
    return _Status(fields[0], parent, group, session, started=int(fields[19]))


def end(
    leader: int, mark: str, grace: float, guard: int | None, sleep: Callable[[float], None]
) -> None:
    """SIGTERM what the leader started, wait up to ``grace`` seconds, SIGKILL until nothing is left.

    Parameters
    ----------
    mark : str
        What the leader and all that it started have in their environment.
    guard : int or None
        The member that ignores SIGTERM, and watches until all others are gone; None: no SIGTERM
        at all, because nothing worth asking runs yet.
    sleep : callable
        How to wait.
    """
    last = frozenset({leader} if guard is None else {leader, guard})
    if guard is not None and grace > 0:
        _signal(leader, signal.SIGSTOP)
        asked = _others(leader, mark, last)
        for member in asked:
            _signal(member.pid, signal.SIGTERM)
        _wait_for(asked, grace, sleep)
    kill(leader, mark, last, sleep)
    _kill_all_but(frozenset(), leader, mark, sleep)


def kill(leader: int, mark: str, last: Set[int], sleep: Callable[[float], None]) -> None:
    """SIGKILL what the leader started, and when it is gone the ``last``, if they are not we."""
    _signal(leader, signal.SIGSTOP)
    for member in _kill_all_but(last, leader, mark, sleep):
        if member.pid != os.getpid():
            _signal(member.pid, signal.SIGKILL)


def _kill_all_but(
    spared: Set[int], leader: int, mark: str, sleep: Callable[[float], None]
) -> set[Member]:
    """SIGKILL members until only the spared are left; these."""
    while True:
        living = members(leader, mark)
        condemned = {member for member in living if member.pid not in spared}
        if not condemned:
            return living
        for member in condemned:
            _signal(member.pid, signal.SIGKILL)
        _wait_for(condemned, 1.0, sleep)


def _others(leader: int, mark: str, spared: Set[int]) -> set[Member]:
    return {member for member in members(leader, mark) if member.pid not in spared}


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_for(asked: set[Member], seconds: float, sleep: Callable[[float], None]) -> None:
    """Wait until these are gone; a look at a few costs less than one at all processes."""
    pause, end = _FIRST_LOOK, time.monotonic() + seconds
    while any(_lives(member) for member in asked) and time.monotonic() < end:
        sleep(pause)
        pause = min(2 * pause, _LAST_LOOK)


def _lives(member: Member) -> bool:
    status = _status(member.pid)
    return status is not None and status.lives and status.started == member.started
