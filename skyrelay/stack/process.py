"""How is a long-running command started, stopped and never left behind?"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from skyrelay.stack import guard

#: How long a killed predecessor may take to free its folder.
LOCK_SECONDS = 10.0


class GuardedProcess:
    """A command below a guard: it dies, with all it started, when this process does.

    Parameters
    ----------
    command : sequence of str
        The argument list.
    log : Path
        File to which the command's output and error output are appended.
    environment : mapping, optional
        The whole environment of the command (default: a copy of ours).
    folder : Path, optional
        Its working directory (default: ours).
    lock : Path, optional
        File that is locked for as long as anything of the command lives: a second process with
        the same lock is refused.

    Raises
    ------
    RuntimeError
        The command cannot be started, or the lock is held by another.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        lock: Path | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        lock_fd = None if lock is None else lock_file(lock)
        report_read, report_write = os.pipe()
        inherited = [report_write] if lock_fd is None else [report_write, lock_fd]
        try:
            with log.open("ab") as output:
                self._guard = subprocess.Popen(
                    guard.command_line(os.getpid(), report_write, command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if environment is None else dict(environment),
                    cwd=folder,
                    pass_fds=inherited,
                    # A Ctrl-C in the terminal is for us; we decide in which order others stop.
                    start_new_session=True,
                )
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        with open(report_read, "rb") as report:
            reported = report.readline()
        if not reported:
            self._guard.wait()
            raise RuntimeError(f"Cannot start {command[0]}; its last words are in {log}.")
        self._pid = int(reported)

    @property
    def pid(self) -> int:
        """Process id of the command itself (not of its guard)."""
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """Exit code once nothing of the command is left (128 + N after signal N), else None."""
        return self._guard.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def members(self) -> list[int]:
        """Process ids of the command and of everything below it that lives."""
        return guard.descendants(self._guard.pid) if self.running else []

    def terminate(self) -> None:
        """Ask the command to end (SIGTERM); does not wait."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the command and everything it started; returns when nothing is left."""
        self._signal(signal.SIGQUIT)
        self._guard.wait()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code once nothing of the command is left; None if that takes longer."""
        try:
            return self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace: float) -> None:
        """Ask the command to end, kill what is left after `grace` seconds."""
        self.terminate()
        if self.wait(grace) is None:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self._guard.send_signal(number)


def lock_file(path: Path) -> int:
    """A descriptor of the file `path`, locked for us and whoever inherits it, until it is closed.

    Raises
    ------
    RuntimeError
        Another process keeps it locked for longer than a killed predecessor would.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise RuntimeError(
                    f"{path.parent} is in use by another running process; stop that one first, "
                    "or use another folder."
                ) from None
            time.sleep(0.05)
