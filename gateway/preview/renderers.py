"""Who makes the pictures, so that no other request waits for them and memory stays bounded?

A few processes for each of the web server's: the first is begun with it, the others when they are
first needed. One that takes too long or dies is replaced; it ends by itself when nobody can ask it
any more.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from enum import StrEnum

from gateway import observation
from gateway.preview.jobs import Head, Job, Unviewable

#: What is drawn.
_IMAGE, _CUTOUT = "image", "cutout"
#: Seconds for a picture; the first of a large image reads it whole.
_LONGEST = 30.0


class _Ending(StrEnum):
    """How a picture that was asked for ends."""

    MADE = "made"
    REFUSED = "refused"
    TOO_BUSY = "too busy"
    FAILED = "failed"


class TooBusy(Exception):
    """More pictures are asked for than can be made soon."""


class Renderers:
    """``count`` processes, or none, that make pictures with at most ``memory`` MiB each.

    Requests wait for them as long as there is ``room``, which they share with others that wait.
    """

    def __init__(self, count: int, memory: int, room: threading.Semaphore) -> None:
        self._count = count
        self._memory = memory
        self._room = room
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        self._living: set[subprocess.Popen[bytes]] = set()
        for _ in range(count):
            self._idle.put(None)
        for kind in (_IMAGE, _CUTOUT):
            for ending in _Ending:
                observation.PICTURES.labels(kind, ending.value)

    def warm(self) -> None:
        """Begin one of them before anybody asks: it takes seconds until it has its libraries.

        The others, and their memory, wait for whoever needs them.
        """
        with suppress(queue.Empty):
            process = self._idle.get_nowait()
            try:
                process = self._alive(process)
            finally:
                self._idle.put(process)

    def render(self, job: Job) -> bytes:
        """The picture.

        Raises
        ------
        Unviewable
            If there is none: says why.
        TooBusy
            If it would take too long.
        """
        began, ending = time.monotonic(), _Ending.FAILED
        try:
            picture = self._render(job)
            ending = _Ending.MADE
            return picture
        except Unviewable:
            ending = _Ending.REFUSED
            raise
        except TooBusy:
            ending = _Ending.TOO_BUSY
            raise
        finally:
            kind = _CUTOUT if job.image is None else _IMAGE
            observation.PICTURES.labels(kind, ending.value).observe(time.monotonic() - began)

    def _render(self, job: Job) -> bytes:
        if not self._count:
            raise Unviewable("No pictures are made here (SKYRELAY_RENDERERS is 0).")
        if not self._room.acquire(blocking=False):
            raise TooBusy
        try:
            try:
                process = self._idle.get(timeout=_LONGEST)
            except queue.Empty:
                raise TooBusy from None
            try:
                process = self._alive(process)
                return self._ask(process, job)
            finally:
                self._idle.put(process)
        finally:
            self._room.release()

    def stop(self) -> None:
        """End them all."""
        for process in list(self._living):
            process.kill()
            self._forget(process)

    def _alive(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        if process is not None and process.poll() is None:
            return process
        if process is not None:
            observation.RENDERER_DEATHS.inc()
            self._forget(process)
        command = [sys.executable, "-m", "gateway.preview", str(self._memory)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._living.add(process)
        return process

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._living.discard(process)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _ask(self, process: subprocess.Popen[bytes], job: Job) -> bytes:
        assert process.stdin is not None and process.stdout is not None
        watch = threading.Timer(_LONGEST, process.kill)
        watch.daemon = True
        watch.start()
        try:
            process.stdin.write(job.model_dump_json().encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise Unviewable("It takes too long, or too much memory, to show this.")
            head = Head.model_validate_json(line)
            picture = process.stdout.read(head.size)
        except (BrokenPipeError, ConnectionError) as error:
            raise TooBusy from error
        finally:
            watch.cancel()
        if head.refusal:
            raise Unviewable(head.refusal)
        return picture
