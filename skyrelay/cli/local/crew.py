"""How do several workers share the images, and how does all of it end when it is to end?"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from skyrelay import threads
from skyrelay.cli.local.job import LINE, Began, Job, JobDone, Line, Ready, StepDone
from skyrelay.messages import Outcome
from skyrelay.stage import group

#: Seconds between looks at time limits and at workers that are gone.
_TICK = 0.5
#: Seconds between SIGTERM and SIGKILL.
_GRACE = 2.0


@dataclass
class _Worker:
    """A worker process and what it has in hand."""

    process: subprocess.Popen[bytes]
    mark: str
    channel: socket.socket
    job: Job | None = None
    step: str | None = None
    deadline: float | None = None
    time_limit: float = 0.0
    guard: int | None = None
    unread: bytes = field(default=b"")


class Crew:
    """Workers for a list of jobs. Use it in a ``with``: at its end nothing of them is left."""

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._waiting = list(reversed(jobs))
        self._workers: list[_Worker] = []
        self._size = min(workers, len(jobs))
        self._selector = selectors.DefaultSelector()
        self._lifeline, self._our_end = os.pipe()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._workers):
            self._end(worker)
        self._selector.close()
        os.close(self._lifeline)
        os.close(self._our_end)

    def work(self) -> Iterator[tuple[Job, Line]]:
        """Have the jobs done; what is said about each, as it happens."""
        while self._waiting or any(worker.job for worker in self._workers):
            while self._waiting and len(self._workers) < self._size:
                self._start()
            for key, _ in self._selector.select(_TICK):
                yield from self._listen(key.data)
            for worker in list(self._workers):
                if worker.deadline is not None and time.monotonic() > worker.deadline:
                    yield from self._give_up(
                        worker, f"It took longer than {worker.time_limit:g} s and was stopped."
                    )

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "skyrelay.cli.local.worker"]
        command += ["--channel", str(theirs.fileno()), "--lifeline", str(self._lifeline)]
        command += ["--parent", str(os.getpid())]
        mark = secrets.token_hex(8)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                **threads.at_most(1),
                "MPLBACKEND": "Agg",
                group.MARK_VARIABLE: mark,
            },
            pass_fds=(theirs.fileno(), self._lifeline),
            start_new_session=True,
        )
        theirs.close()
        worker = _Worker(process, mark, ours, self._waiting.pop())
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _listen(self, worker: _Worker) -> Iterator[tuple[Job, Line]]:
        try:
            received = worker.channel.recv(65536)
        except OSError:
            received = b""
        if not received:
            code = worker.process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            yield from self._give_up(worker, f"Its worker has died ({how}).")
            return
        *lines, worker.unread = (worker.unread + received).split(b"\n")
        for text in lines:
            yield from self._hear(worker, LINE.validate_json(text))

    def _hear(self, worker: _Worker, line: Line) -> Iterator[tuple[Job, Line]]:
        if isinstance(line, Ready):
            worker.guard = line.guard
            self._send(worker)
            return
        assert worker.job is not None
        yield worker.job, line
        if isinstance(line, Began):
            worker.step, worker.time_limit = line.step, line.time_limit
            worker.deadline = time.monotonic() + line.time_limit
        elif isinstance(line, StepDone):
            worker.deadline = None
        elif isinstance(line, JobDone):
            worker.job = self._waiting.pop() if self._waiting else None
            worker.step = None
            if worker.job is not None:
                self._send(worker)

    def _send(self, worker: _Worker) -> None:
        assert worker.job is not None
        # A worker that has died is found out when its channel is read.
        with suppress(OSError):
            worker.channel.sendall(worker.job.model_dump_json().encode() + b"\n")

    def _give_up(self, worker: _Worker, reason: str) -> Iterator[tuple[Job, Line]]:
        """End the worker, and the job that it has in hand with it."""
        job, step, took = worker.job, worker.step, worker.time_limit
        self._end(worker)
        if job is None:
            return
        if step is not None:
            yield job, StepDone(step=step, outcome=Outcome.FAILED, reasons=(reason,), seconds=took)
            yield job, JobDone()
        else:
            yield job, JobDone(reason=reason)

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        with suppress(KeyError, ValueError):
            self._selector.unregister(worker.channel)

        def sleep(seconds: float) -> None:
            time.sleep(seconds)
            worker.process.poll()

        if worker.process.poll() is None:
            grace = _GRACE if worker.job is not None else 0.0
            group.end(worker.process.pid, worker.mark, grace, worker.guard, sleep)
        worker.process.wait()
        worker.channel.close()
