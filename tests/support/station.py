"""How does a test run replicas of the trial service, and play the gateway to them?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from skyrelay.broker.consumer import DeadLetter, EventConsumer, News
from skyrelay.broker.publisher import Publisher
from skyrelay.messages import KillRun, Outcome, RunStage, StageFinished, place_in
from skyrelay.store import TaskStore
from tests.support.processes import is_alive, processes_with, wait_until
from tests.support.servers import PROJECT, TRIAL

#: What is in the folder of a task after a trial that ended well.
PRODUCTS = {"image.fits", "product.txt", "second.txt", "trial.log", "trial_results.json"}


class Replica:
    """A running process of the trial service."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "skyrelay.stage.replica", "tests.trial_service.service"],
                cwd=PROJECT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def said(self, words: str) -> bool:
        """Whether the replica's log contains these words."""
        return words in self.log.read_text()

    def times_said(self, words: str) -> int:
        """How often the replica's log contains these words."""
        return self.log.read_text().count(words)

    @property
    def warmed(self) -> list[int]:
        """Process ids of all workers that have come up so far, also of those that are gone."""
        return [int(pid) for pid in re.findall(r"a worker is warm pid=(\d+)", self.log.read_text())]

    def terminate(self) -> None:
        """Ask it to drain; does not wait."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as for memory."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float = 120.0) -> int:
        """The exit code, when it has ended."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self.kill()


class Station:
    """A store, a broker, replicas, and all that they have said."""

    def __init__(self, folder: Path, amqp_uri: str) -> None:
        self.folder = folder
        self.amqp_uri = amqp_uri
        self.store = TaskStore(folder / "tasks")
        self.news: list[News] = []
        self.replicas: list[Replica] = []
        self._tasks = 0
        self._consumer = EventConsumer(amqp_uri, self._hear)
        self._thread = threading.Thread(target=self._consumer.run)
        self._thread.start()
        self.publisher = Publisher(amqp_uri)

    def _hear(self, batch: Sequence[News]) -> None:
        self.news.extend(batch)

    def replica(self, **settings: object) -> Replica:
        """Start a replica; settings without their prefix: ``slots=2``.

        With ``amqp_uri`` it reaches the broker at another address than the station does, with
        ``tasks_path`` it looks for the store elsewhere.
        """
        amqp_uri = settings.pop("amqp_uri", self.amqp_uri)
        tasks_path = settings.pop("tasks_path", self.store.root)
        ours = {f"SKYRELAY_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {
            **os.environ,
            "AMQP_URI": str(amqp_uri),
            "TASKS_PATH": str(tasks_path),
            **{name.upper(): value for name, value in TRIAL.items()},
            **ours,
        }
        replica = Replica(environment, self.folder / f"replica-{len(self.replicas)}.log")
        self.replicas.append(replica)
        return replica

    def ready_replica(self, **settings: object) -> Replica:
        """Start a replica and wait until it takes messages."""
        replica = self.replica(**settings)
        assert wait_until(lambda: replica.said("consuming")), replica.log.read_text()
        return replica

    def task(self) -> int:
        """A new task with an image."""
        self._tasks += 1
        folder = self.store.create(self._tasks)
        (folder / "image.fits").write_text("image")
        return self._tasks

    def command(self, task: int | None = None, **order: Any) -> RunStage:
        """The command for a new run whose trial does what ``order`` says."""
        run = uuid4()
        order.setdefault("trace", str(self.trace(run)))
        config = {"trial": order, "time_limit": order.pop("time_limit", None)}
        key = self.store.create_run(run, config)
        return RunStage(run=run, task=task or self.task(), index=0, step="trial", config=key)

    def order(self, **order: Any) -> RunStage:
        """Publish the command for a new run."""
        command = self.command(**order)
        self.publisher.publish(command)
        return command

    def kill(self, command: RunStage) -> None:
        """Kill a run as the gateway does."""
        self.store.cancel_run(command.task, command.run)
        self.publisher.publish(KillRun(run=command.run, task=command.task))

    def trace(self, run: UUID) -> Path:
        """The file in which the trial leaves a line at its begin and at its end."""
        return self.folder / f"trace-{run}"

    def workers(self, command: RunStage) -> list[int]:
        """Process ids of the workers in which the science of this run has begun."""
        lines = self.trace(command.run).read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("begun")]

    def detached(self, command: RunStage) -> list[int]:
        """Living processes in sessions of their own that the science of this run has started."""
        return list(processes_with(f"TRIAL_TRACE={self.trace(command.run)}"))

    def begun(self, command: RunStage) -> int:
        """How often the science of this run has begun."""
        trace = self.trace(command.run)
        return trace.read_text().count("begun") if trace.exists() else 0

    def ended(self, command: RunStage) -> int:
        """How often the science of this run came to its end."""
        trace = self.trace(command.run)
        return trace.read_text().count("ended") if trace.exists() else 0

    def of(self, command: RunStage, kind: type[Any]) -> list[Any]:
        """The news of one kind about a run."""
        return [
            item for item in self.news if isinstance(item, kind) and _run_of(item) == command.run
        ]

    def dead_letters(self) -> list[DeadLetter]:
        """All that was put aside."""
        return [item for item in self.news if isinstance(item, DeadLetter)]

    def finished(self, command: RunStage) -> StageFinished:
        """The first outcome of a run; waits for it."""
        assert wait_until(lambda: self.of(command, StageFinished)), self.logs()
        finished: StageFinished = self.of(command, StageFinished)[0]
        return finished

    def ends(self, command: RunStage) -> set[tuple[Outcome, int, datetime]]:
        """The outcomes of a run; one that the broker was told twice is one."""
        told = self.of(command, StageFinished)
        return {(event.outcome, event.attempt, event.finished) for event in told}

    def wait_for_begin(self, command: RunStage, times: int = 1) -> None:
        """Wait until the science has begun so often."""
        assert wait_until(lambda: self.begun(command) >= times), self.logs()

    def logs(self) -> str:
        """What all replicas have logged last."""
        return "\n".join(
            "\n".join([f"== {r.log}", *r.log.read_text().splitlines()[-60:]]) for r in self.replicas
        )

    def files(self, command: RunStage) -> set[str]:
        """Names of the visible files in the task's folder."""
        return {entry.name for entry in self.store.entries(command.task)}

    def assert_sound(self, *commands: RunStage, begun: int | None = None) -> None:
        """Every command came to one end, by one attempt, and nothing of it is left.

        ``begun``: how often the science of each has begun, where that is known.
        """
        for command in commands:
            outcomes = {event.outcome for event in self.of(command, StageFinished)}
            assert len(outcomes) == 1, (outcomes, self.logs())
            done = outcomes == {Outcome.DONE}
            assert begun in (None, self.begun(command)), self.logs()
            assert self.ended(command) == done, self.logs()
            log = {"trial.log"} if outcomes == {Outcome.FAILED} else set()
            assert self.files(command) == (PRODUCTS if done else {"image.fits"} | log)
            # A warm worker and its guard go on living; what its science has started does not.
            for worker in self.workers(command):
                assert wait_until(lambda worker=worker: len(group_of(worker)) <= 2)
            assert self.detached(command) == []
        assert self.leftovers() == []

    def leftovers(self) -> list[Path]:
        """Scratch folders, temporary files and versions that no task uses."""
        root = self.store.root
        versions = {p.resolve() for p in root.iterdir() if p.is_symlink()}
        unused = [p for p in (root / ".versions").iterdir() if p.resolve() not in versions]
        attempts = (root / ".runs").glob("*/*[0-9]/*")
        return unused + [p for p in attempts if p.name not in ("record.json", "superseded")]

    def end(self) -> None:
        """Stop everything."""
        for replica in self.replicas:
            replica.end()
        self._consumer.stop()
        self._thread.join()
        self.publisher.close()


def _run_of(news: News) -> UUID | None:
    if not isinstance(news, DeadLetter):
        return news.run
    place = place_in(news.body)
    return place.run if place else None


def until(file: Path) -> str:
    """A ``program`` for a trial: its stage lasts until there is this file."""
    return f"until test -e {file}; do sleep 0.05; done"


def group_of(pid: int) -> list[int]:
    """Living processes of the session that ``pid`` leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(stat[3]) == pid:
                found.append(int(entry.name))
    return found


@contextmanager
def station(folder: Path, amqp_uri: str) -> Iterator[Station]:
    """A station that is gone afterwards, with every process of it."""
    made = Station(folder, amqp_uri)
    try:
        yield made
    finally:
        made.end()
