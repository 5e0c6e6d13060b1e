"""How do the processes that tests have started end when pytest itself is killed?

    python -m tests.support.keeper PARENT MARK

ends every process that has MARK in its environment when the process PARENT is gone (killed by the
kernel, or by whoever would wait no longer), so whatever tests have started, with a guard of its own
or without. A line on its standard input says that nothing is left to be done.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.processes import processes_with

PROJECT = Path(__file__).resolve().parents[2]


def keeper(mark: str) -> subprocess.Popen[bytes]:
    """Start one for this process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.keeper", str(os.getpid()), mark],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        # A Ctrl-C in the terminal is not for it: it is needed just then.
        start_new_session=True,
    )


def kill_all_with(mark: str) -> None:
    """SIGKILL the processes with this mark, and what they start in the meantime."""
    while found := processes_with(mark):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Zombies have no environment: a round finds only those that are still to die.
        select.select([], [], [], 0.05)


def main() -> None:
    parent, mark = int(sys.argv[1]), sys.argv[2]
    with suppress(ProcessLookupError):
        alive = os.pidfd_open(parent)
        if os.getppid() == parent:
            ready, _, _ = select.select([alive, sys.stdin], [], [])
            # A parent that dies may close its end of our input a moment before it is gone.
            if alive not in ready and sys.stdin.readline():
                return
    kill_all_with(mark)


if __name__ == "__main__":
    main()
