"""How fast does Celery carry the same chain, on the same broker?"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.orchestration import celery_app, processes, taps
from benchmarks.orchestration.figures import Figures, Latency, Workload
from skyrelay.stack.process import GuardedProcess

#: Worker processes: one per core is what Celery chooses by itself on two.
WORKERS = 2

#: Seconds in which chains must be over.
PATIENCE = 600.0

#: Seconds between two looks at a chain that is not to be disturbed, or at all of them.
LOOK = 0.2

_PROJECT = Path(__file__).resolve().parents[2]


def measure(
    folder: Path, broker: tuple[str, int], workload: Workload, *, say: Callable[[str], None]
) -> Figures:
    """Start Celery's workers on the broker with this address and process id, and measure them."""
    amqp_uri, broker_pid = broker
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "celery.db"
    celery_app.app.conf.broker_url = amqp_uri
    arguments = ["-A", "benchmarks.orchestration.celery_app", "worker", "--loglevel", "WARNING"]
    options = ["--concurrency", str(WORKERS), "--without-gossip", "--without-mingle"]
    worker = GuardedProcess(
        [sys.executable, "-m", "celery", *arguments, *options],
        log=folder / "celery.log",
        environment={
            **os.environ,
            "AMQP_URI": amqp_uri,
            celery_app.DATABASE: str(database),
            # Celery warns of being root; that is our own affair.
            "C_FORCE_ROOT": "1",
        },
        folder=_PROJECT,
    )
    try:
        measurement = _Measurement(
            database, amqp_uri, {"broker": broker_pid, "workers": worker.pid}
        )
        return measurement.of(workload, say)
    finally:
        celery_app.app.close()
        worker.stop(20.0)


class _Measurement:
    def __init__(self, database: Path, amqp_uri: str, pids: dict[str, int]) -> None:
        self._database = celery_app.connect(str(database))
        self._database.execute(celery_app.TABLE)
        self._amqp_uri = amqp_uri
        self._pids = pids

    def of(self, workload: Workload, say: Callable[[str], None]) -> Figures:
        say(f"Celery: {workload.warm_up} chains to warm up.")
        self._all_at_once(workload.warm_up)
        say(f"Celery: {workload.alone} chains, one at a time, watched.")
        seen, recorded = zip(*(self._watched(workload) for _ in range(workload.alone)), strict=True)
        say(f"Celery: {workload.alone} chains, one at a time, undisturbed.")
        meter = processes.Meter(self._pids)
        undisturbed = [self._undisturbed(workload) for _ in range(workload.alone)]
        alone = meter.read()
        with taps.tap(self._amqp_uri, {celery_app.QUEUE: [celery_app.QUEUE]}) as tap:
            self._undisturbed(workload)
            messages = tap.counts()
        say(f"Celery: {workload.at_once} chains at once.")
        meter = processes.Meter(self._pids)
        seconds = self._all_at_once(workload.at_once)
        at_once = meter.read()
        return Figures(
            seen=Latency.of(seen),
            recorded=Latency.of(recorded),
            undisturbed=Latency.of(undisturbed),
            cpu_alone=_each(alone, workload.alone),
            cpu_at_once=_each(at_once, workload.at_once),
            others=at_once.others,
            chains_at_once=workload.at_once,
            chains_per_second=workload.at_once / seconds,
            messages=sum(messages.values()),
        )

    def _watched(self, workload: Workload) -> tuple[float, float]:
        number = self._new_task()
        time.sleep(workload.pause)
        begun = time.time()
        celery_app.submit(number)
        while (ended := self._end_of(number)) is None:
            pass
        return time.time() - begun, ended - begun

    def _undisturbed(self, workload: Workload) -> float:
        number = self._new_task()
        time.sleep(workload.pause)
        begun = time.time()
        celery_app.submit(number)
        time.sleep(LOOK)
        while (ended := self._end_of(number)) is None:
            time.sleep(LOOK)
        return ended - begun

    def _all_at_once(self, chains: int) -> float:
        numbers = [self._new_task() for _ in range(chains)]
        begun = time.time()
        for number in numbers:
            celery_app.submit(number)
        while self._running():
            if time.time() > begun + PATIENCE:
                raise RuntimeError(f"Not all of {chains} chains have ended in {PATIENCE:g} s.")
            time.sleep(LOOK)
        (ended,) = self._database.execute("SELECT max(ended) FROM tasks").fetchone()
        return float(ended) - begun

    def _running(self) -> bool:
        query = "SELECT 1 FROM tasks WHERE ended IS NULL LIMIT 1"
        return self._database.execute(query).fetchone() is not None

    def _new_task(self) -> int:
        made = self._database.execute("INSERT INTO tasks (state) VALUES ('initial')")
        return int(made.lastrowid or 0)

    def _end_of(self, number: int) -> float | None:
        query = "SELECT ended FROM tasks WHERE id = ?"
        ended: float | None = self._database.execute(query, (number,)).fetchone()[0]
        return ended


def _each(usage: processes.Usage, chains: int) -> dict[str, float]:
    """Seconds per chain. Ours are those of whoever submits, as a web process would."""
    spent = {**usage.by_process, "submitter": usage.client}
    return {name: value / chains for name, value in spent.items()}
