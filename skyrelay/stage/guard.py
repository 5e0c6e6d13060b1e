"""How does a worker's whole process group die when the replica dies, however it dies?

The guard is a child of the worker, forked before anything heavy is imported. It waits on a pipe
whose other end only the replica holds. When the replica is gone the kernel closes that end and
stops the worker; the guard kills all that the worker has started, then the worker, and ends. It
ignores SIGTERM: while a stage is being stopped somebody must still watch. Should the guard itself
be killed the kernel kills the worker at once: without a guard it could outlive its replica, stopped
and with the claim of its attempt, for ever.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from skyrelay.stage.group import MARK_VARIABLE, kill

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def stand_guarded(parent: int, lifeline: int, channel: int) -> int:
    """Make this process a worker that dies with ``parent``, and all it starts with it; its guard.

    Parameters
    ----------
    lifeline : int
        Descriptor of the reading end of the parent's pipe.
    channel : int
        Descriptor over which the worker talks; nobody that it starts inherits it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)
    adopt_orphans()
    guard = fork_guard(lifeline, channel)
    stop_with_parent()
    os.set_inheritable(channel, False)
    return guard


def end_children(guard: int) -> None:
    """End what the science has started and not waited for; it would outlive its run.

    Orphans are our children too, see `adopt_orphans`; so this goes on until none is left.
    """
    while left := [pid for pid in _children() if pid != guard]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    """The children of every thread of this process; threads come and go meanwhile."""
    found: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found


def fork_guard(lifeline: int, *not_for_guard: int) -> int:
    """Start the guard of this process's group; its process id.

    Parameters
    ----------
    lifeline : int
        Descriptor of the reading end of the replica's pipe; closed in this process.
    not_for_guard : int
        Descriptors that the guard must not keep open.
    """
    ours, of_guard = os.pipe()
    guard = os.fork()
    if guard:
        os.close(lifeline)
        os.close(of_guard)
        _be_killed_when_closed(ours)
        return guard
    os.close(ours)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in not_for_guard:
        os.close(descriptor)
    while os.read(lifeline, 1):
        pass
    worker = os.getpgrp()
    kill(worker, os.environ[MARK_VARIABLE], {worker, os.getpid()}, time.sleep)
    os._exit(0)


def _be_killed_when_closed(reading_end: int) -> None:
    """Have the kernel kill this process when nobody has the other end of a pipe any more."""
    fcntl.fcntl(reading_end, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(reading_end, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(reading_end, fcntl.F_GETFL)
    fcntl.fcntl(reading_end, fcntl.F_SETFL, flags | os.O_ASYNC)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as ``parent`` is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def stop_with_parent() -> None:
    """Have the kernel stop this process as soon as its parent is gone, for the guard to end it.

    Killed by the kernel it would leave behind, unknown, what has a session of its own.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGSTOP)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is lost."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
