"""How does a worker's whole process group die when the replica dies, however it dies?

The guard is a child of the worker, forked before anything heavy is imported. It waits on a pipe
whose other end only the replica holds; when the replica is gone the kernel closes that end, and
the guard kills the group and ends. It ignores SIGTERM: while a stage is being stopped
somebody must still watch.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress

from skyrelay.stage.group import members

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def fork_guard(lifeline: int, *not_for_guard: int) -> int:
    """Start the guard of this process's group; its process id.

    Parameters
    ----------
    lifeline : int
        Descriptor of the reading end of the replica's pipe; closed in this process.
    not_for_guard : int
        Descriptors that the guard must not keep open.
    """
    guard = os.fork()
    if guard:
        os.close(lifeline)
        return guard
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in not_for_guard:
        os.close(descriptor)
    while os.read(lifeline, 1):
        pass
    leader = os.getpgrp()
    while others := members(leader) - {os.getpid()}:
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os._exit(0)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as ``parent`` is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is lost."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
