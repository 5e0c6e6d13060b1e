"""How does a replica start, talk to and end one of its worker processes?"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys

import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore

from skyrelay import threads
from skyrelay.messages import RunStage
from skyrelay.settings import Settings
from skyrelay.stage import group
from skyrelay.stage.answers import LINE, Line, Ready
from skyrelay.stage.output import Output

_MIB = 1024.0**2


class WorkerGone(Exception):
    """The worker process has ended, or has said that it will."""


class Lifeline:
    """A pipe whose writing end is open for as long as this process lives."""

    def __init__(self) -> None:
        self.reading_end, self._writing_end = os.pipe()

    def close(self) -> None:
        os.close(self.reading_end)
        os.close(self._writing_end)


class WorkerProcess:
    """One worker: a warm Python process with a group of its own.

    Parameters
    ----------
    service : str
        Folder of the service whose science the worker imports.
    lifeline : Lifeline
        When it closes, the worker's guard kills the worker's group.
    """

    def __init__(self, service: str, settings: Settings, lifeline: Lifeline) -> None:
        self._channel, theirs = socket.socketpair()
        self._unread = b""
        self._guard: int | None = None
        self._output = Output()
        self._mark = secrets.token_hex(8)
        self._ending = Semaphore()
        self._ended = False
        self.ending = False
        self.retired = Event()
        command = [sys.executable, "-m", "skyrelay.stage.worker", service]
        command += ["--channel", str(theirs.fileno()), "--lifeline", str(lifeline.reading_end)]
        command += ["--parent", str(os.getpid())]
        try:
            with self._output.taken() as (printed, log):
                self._process = subprocess.Popen(
                    [*command, "--log", str(log)],
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=printed,
                    env=_environment(settings) | {group.MARK_VARIABLE: self._mark},
                    pass_fds=(theirs.fileno(), lifeline.reading_end, log),
                    start_new_session=True,
                )
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Process id of the worker, and id of its group and session."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs and nobody is about to end it."""
        return not self.ending and self._process.poll() is None

    @property
    def memory(self) -> float:
        """Resident memory in MiB; 0 for a process that has ended."""
        try:
            with open(f"/proc/{self.pid}/statm") as file:
                pages = int(file.read().split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the science is imported.

        Raises
        ------
        WorkerGone
            If the worker has ended instead, or takes longer than ``seconds``.
        """
        line = self.receive(seconds)
        if not isinstance(line, Ready):
            raise WorkerGone("it did not become ready")
        self._guard = line.guard

    def send(self, command: RunStage) -> None:
        """Give the worker a command.

        Raises
        ------
        WorkerGone
            If there is nobody to take it.
        """
        try:
            self._output.about = command
            self._channel.sendall(command.to_json().encode() + b"\n")
        except (OSError, EOFError) as error:
            raise WorkerGone(str(error)) from error

    def receive(self, seconds: float) -> Line | None:
        """The next line that the worker says; None if it says nothing for so long.

        Raises
        ------
        WorkerGone
            If it will never say anything again.
        """
        self._channel.settimeout(seconds)
        while b"\n" not in self._unread:
            try:
                received = self._channel.recv(65536)
            except TimeoutError:
                # A forked child of a dead worker may hold the other end open.
                if self._process.poll() is not None:
                    raise WorkerGone(self.last_words()) from None
                return None
            except (OSError, EOFError) as error:
                # `end`, in another green thread, has closed the channel.
                raise WorkerGone(str(error)) from error
            if not received:
                raise WorkerGone(self.last_words())
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            return LINE.validate_json(line)
        except ValueError as error:
            raise WorkerGone("its message cannot be read") from error

    def end(self, grace: float) -> None:
        """End the worker and all its group; returns when nothing of it is left.

        ``grace``: seconds between SIGTERM and SIGKILL; 0 or less: SIGKILL at once.
        """
        self.ending = True
        with self._ending:
            if self._ended:
                return  # The number may be another process's by now.
            group.end(self.pid, self._mark, grace, self._guard, sleep=self._sleep_and_reap)
            self._process.wait()
            self._channel.close()
            self._ended = True

    def last_words(self) -> str:
        """How the process ended, in a few words."""
        for _ in range(100):
            code = self._process.poll()
            if code is not None:
                break
            eventlet.sleep(0.01)
        if code is None:
            return "it closed its line"
        if code == -9:
            return "it was killed, perhaps because the machine ran out of memory"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _sleep_and_reap(self, seconds: float) -> None:
        eventlet.sleep(seconds)
        self._process.poll()


def _environment(settings: Settings) -> dict[str, str]:
    limits = threads.at_most(settings.skyrelay_worker_threads)
    return {**os.environ, **limits, "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"}
