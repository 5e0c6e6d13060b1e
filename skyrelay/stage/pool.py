"""How are there always as many warm workers as the replica has slots?"""

from __future__ import annotations

import logging
from contextlib import suppress

import eventlet
from eventlet.event import Event
from eventlet.queue import LifoQueue
from nameko.extensions import SharedExtension

from skyrelay.settings import Settings
from skyrelay.stage import observation
from skyrelay.stage.process import Lifeline, WorkerGone, WorkerProcess

_log = logging.getLogger(__name__)

#: A cold disk and a busy machine make the science's imports slow.
SECONDS_TO_WARM_UP = 300.0

#: Pause before a worker that did not come up is started again, in seconds: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


#: Seconds between looks at whether an idle worker still lives.
WATCH = 1.0


class WorkerPool(SharedExtension):
    """One worker process per slot, and spare ones; replaced whenever one is spent."""

    def __init__(self) -> None:
        self._workers: set[WorkerProcess] = set()
        self._in_use: set[WorkerProcess] = set()
        self._idle: LifoQueue = LifoQueue()
        self._warm = Event()
        self._stopping = False

    def setup(self) -> None:
        """Begin to start the workers; they warm up while the replica looks for its broker."""
        self._settings: Settings = self.container.config["SETTINGS"]
        self._lifeline = Lifeline()
        self._size = self._settings.skyrelay_slots + self._settings.skyrelay_spare_workers
        for _ in range(self._size):
            self.container.spawn_managed_thread(self._keep_a_worker, identifier="worker slot")

    @property
    def healthy(self) -> bool:
        """Whether as many workers as there should be live, or are warming up."""
        return bool(sum(worker.alive for worker in self._workers) == self._size)

    @property
    def warm(self) -> bool:
        """Whether at least one worker has been ready."""
        return bool(self._warm.ready())

    def wait_until_warm(self) -> None:
        """Wait for the first worker."""
        self._warm.wait()

    def acquire(self) -> WorkerProcess:
        """A warm worker for one command; waits for one."""
        while True:
            worker: WorkerProcess = self._idle.get()
            if worker.alive:
                self._in_use.add(worker)
                return worker
            self._retire(worker)

    def release(self, worker: WorkerProcess) -> None:
        """Give the worker back; one that has died or grown too large is replaced."""
        self._in_use.discard(worker)
        if worker.alive and worker.memory <= self._settings.skyrelay_worker_memory:
            self._idle.put(worker)
        else:
            self._retire(worker)

    def stop(self) -> None:
        """End all workers."""
        self._stopping = True
        for worker in list(self._workers):
            worker.end(0)

    kill = stop

    def _retire(self, worker: WorkerProcess) -> None:
        if not worker.retired.ready():
            worker.retired.send()

    def _watch(self, worker: WorkerProcess) -> None:
        """Wait until the worker is spent, or has died while nobody used it."""
        while not worker.retired.ready():
            worker.retired.wait(WATCH)
            if worker in self._in_use or worker.alive:
                continue
            if not self._stopping and not worker.retired.ready():
                _log.warning("an idle worker has died", extra={"pid": worker.pid})
            self._retire(worker)
        with suppress(ValueError):
            self._idle.queue.remove(worker)

    def _keep_a_worker(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                worker = WorkerProcess(self.container.service_name, self._settings, self._lifeline)
            except OSError as error:
                # The machine may be short of processes or memory just now.
                pause = self._wait_after(error, pause)
                continue
            self._workers.add(worker)
            observation.WORKERS_STARTED.inc()
            try:
                worker.wait_until_ready(SECONDS_TO_WARM_UP)
                _log.info("a worker is warm", extra={"pid": worker.pid})
                pause = FIRST_PAUSE
                if not self._warm.ready():
                    self._warm.send()
                self._idle.put(worker)
                self._watch(worker)
            except WorkerGone as error:
                if not self._stopping:
                    pause = self._wait_after(error, pause)
            finally:
                worker.end(0)
                self._workers.discard(worker)

    def _wait_after(self, error: Exception, pause: float) -> float:
        """Wait before a worker is started again; the pause after the next failure."""
        _log.error("a worker did not come up (%s); again in %.0f s", error, pause)
        eventlet.sleep(pause)
        return min(2 * pause, LONGEST_PAUSE)
