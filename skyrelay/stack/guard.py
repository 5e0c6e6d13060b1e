"""How does a command die with its parent, together with everything it ever started?

Run as a program of its own, between a parent and a command: the guard starts the command, tells
the parent its process id, and waits. When the command ends, or the parent is gone (even by
SIGKILL), the guard kills every process that is left below it. It is the "subreaper" of its
descendants, so that daemons which detach themselves (Erlang's epmd) stay below it too.

* SIGTERM, SIGINT: passed on to the command, which ends in its own way.
* SIGQUIT: everything is killed at once.

It is run by its path with the interpreter's isolated mode: it imports the standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

#: Between two looks at /proc while processes that were sent SIGKILL disappear.
REAP_SECONDS = 0.02

#: Exit code of a guard that could not start the command, as a shell has it.
CANNOT_START = 127


def command_line(parent: int, report_fd: int, command: Sequence[str]) -> list[str]:
    """The argument list that runs `command` under a guard which lives as long as `parent`.

    `report_fd` is an inherited descriptor on which the guard writes the command's process id and
    a newline, once.
    """
    guard = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*guard, "--parent", str(parent), "--report-fd", str(report_fd), "--", *command]


def descendants(root: int) -> list[int]:
    """Process ids below `root`, zombies left out, in no particular order."""
    children: dict[int, list[int]] = {}
    zombies: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue  # It ended while we looked.
        # The name, in parentheses, may itself hold blanks and parentheses.
        state, ppid = stat.rpartition(")")[2].split()[:2]
        if state in "ZX":
            zombies.add(int(entry))
        children.setdefault(int(ppid), []).append(int(entry))
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return [pid for pid in found if pid not in zombies]


def kill_descendants(root: int | None = None) -> None:
    """SIGKILL everything below `root` (this process by default) and wait until it is gone."""
    root = os.getpid() if root is None else root
    while remaining := descendants(root):
        for pid in remaining:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        select.select([], [], [], REAP_SECONDS)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _die_with_the_guard() -> None:
    """Runs in the command's process before the command: SIGKILL when the guard itself is killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _reap_orphans(command: int) -> None:
    """Free the process table of ended descendants that were handed to us, but not the command."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == command:
            return
        os.waitpid(ended.si_pid, 0)


def _reap_all() -> None:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def _watch(command: subprocess.Popen[bytes], parent_fd: int, wakeup_fd: int) -> int:
    """Wait for the command, its parent or a signal; returns the guard's exit code."""
    command_fd = os.pidfd_open(command.pid)
    while True:
        ready, _, _ = select.select([command_fd, parent_fd, wakeup_fd], [], [])
        if wakeup_fd in ready:
            received = os.read(wakeup_fd, 64)
            if signal.SIGQUIT in received:
                return 128 + signal.SIGQUIT
            for number in (signal.SIGTERM, signal.SIGINT):
                if number in received and command_fd not in ready:
                    os.kill(command.pid, number)
            _reap_orphans(command.pid)
        if parent_fd in ready:
            return 128 + signal.SIGKILL
        if command_fd in ready:
            code = command.wait()
            return code if code >= 0 else 128 - code


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)

    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)

    try:
        parent_fd = os.pidfd_open(options.parent)
    except ProcessLookupError:
        return 128 + signal.SIGKILL
    if os.getppid() != options.parent:
        return 128 + signal.SIGKILL

    try:
        command = subprocess.Popen(options.command, preexec_fn=_die_with_the_guard)
    except OSError as error:
        print(f"Cannot start {options.command[0]}: {error.strerror}.", file=sys.stderr)
        return CANNOT_START
    os.write(options.report_fd, b"%d\n" % command.pid)
    os.close(options.report_fd)
    try:
        return _watch(command, parent_fd, wakeup_read)
    finally:
        kill_descendants()
        _reap_all()


if __name__ == "__main__":
    sys.exit(main())
