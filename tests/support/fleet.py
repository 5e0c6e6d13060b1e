"""How does a test run a whole installation whose processes may be killed, and come up again?"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from skyrelay.client import Client, Conflict, NotFound, RequestRefused, ServerAway
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import children_of, wait_until
from tests.support.servers import PROJECT, Installation, answers

#: Seconds between the death of a process and its next start: what an orchestrator takes, and
#: enough for others to notice.
PAUSE = 0.3

#: Seconds for which a request is sent again to one web server or the other.
PATIENCE = 180.0

#: In the environment of all processes of one fleet.
FLEET_VARIABLE = "SKYRELAY_TEST_FLEET"

T = TypeVar("T")


class Kept:
    """A process that is started again whenever it ends, without anybody who cleans up after it."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.deaths = 0
        self._arguments = [sys.executable, "-m", *arguments]
        self._environment = environment
        self._stopping = threading.Event()
        self._process = self._start()
        self._watcher = threading.Thread(target=self._watch, name=log.stem, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """Its present process id."""
        return self._process.pid

    def said(self, words: str) -> bool:
        """Whether its log contains these words."""
        return words in self.log.read_text()

    def kill(self) -> None:
        """SIGKILL the process itself and nothing else; it comes up again."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, seconds: float = 120.0) -> None:
        """Ask it to end, and see to it; it does not come up again."""
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._watcher.join()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._arguments,
                cwd=PROJECT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self) -> None:
        while True:
            self._process.wait()
            if self._stopping.wait(PAUSE):
                return
            self.deaths += 1
            self._process = self._start()
            if self._stopping.is_set():
                self._process.kill()


class Fleet:
    """An installation with several web servers, consumers of events and trial replicas.

    Attributes
    ----------
    accepted : dict of str
        Every run that was answered 200, and its task.
    cancelled : set of str
        The runs whose cancel was answered 200.
    deleted : dict of str
        The runs whose task was deleted, and when that was answered.
    """

    def __init__(self, place: Installation, *, replicas: int = 2, slots: int = 1) -> None:
        self.place = place
        self.slots = slots
        self.mark = f"{FLEET_VARIABLE}={secrets.token_hex(8)}"
        name, _, value = self.mark.partition("=")
        self._environment = place.environment | {name: value, "SKYRELAY_SLOTS": str(slots)}
        place.user("alice")
        ports = free_ports(2)
        self.addresses = [f"http://{LOOPBACK}:{port}" for port in ports]
        self.webs = [
            self._keep("web", "gateway", "web", "--bind", f"{LOOPBACK}:{p}") for p in ports
        ]
        self.events = [self._keep("events", "gateway", "events") for _ in range(2)]
        service = ("skyrelay.stage.replica", "tests.trial_service.service")
        self.replicas = [self._keep("trial", *service) for _ in range(replicas)]
        self.clients: list[Client] = []
        self.accepted: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.deleted: dict[str, datetime] = {}

    def wait_until_ready(self) -> None:
        """Wait until everything answers and takes messages."""
        for address in self.addresses:
            assert wait_until(lambda at=address: answers(f"{at}/readyz")), self.logs()
        for replica in self.replicas:
            assert wait_until(lambda kept=replica: self.workers(kept) == self.slots), self.logs()
            assert wait_until(lambda kept=replica: kept.said("consuming")), self.logs()
        self.clients = [self.place.client(address, "alice") for address in self.addresses]

    @property
    def processes(self) -> list[Kept]:
        """All that are kept alive."""
        return [*self.webs, *self.events, *self.replicas]

    def workers(self, replica: Kept) -> int:
        """Number of workers of a replica that have a guard, and so are about to be warm."""
        return sum(bool(children_of(worker)) for worker in children_of(replica.pid))

    def ask(self, request: Callable[[Client], T]) -> T:
        """Send a request to one web server, or to the other while that one is away."""
        deadline = time.monotonic() + PATIENCE
        turn = len(self.accepted)
        while True:
            try:
                return request(self.clients[turn % len(self.clients)])
            except ServerAway:
                assert time.monotonic() < deadline, self.logs()
                turn += 1
                time.sleep(0.05)

    def process(
        self, task: int, steps: Sequence[str], order: dict[str, object], **config: object
    ) -> str:
        """Begin a run, whatever that takes; its id."""
        try:
            given = {"trial": order, **config}
            run = self.ask(lambda c: c.process(task, steps, given)).celery_id
        except Conflict:
            # Our own request: it was accepted, and its answer was lost with the server.
            run = self.ask(lambda client: client.runs(task))[0].id
        self.accepted[run] = task
        return run

    def cancel(self, run: str) -> bool:
        """Cancel a run, whatever that takes; whether it was not over."""
        try:
            self.ask(lambda client: client.cancel(self.accepted[run]))
        except RequestRefused as error:
            # Over; or cancelled by our own request, whose answer was lost with the server.
            assert error.status == 400, error
            return False
        self.cancelled.add(run)
        return True

    def delete(self, run: str) -> None:
        """Delete the task of a run, whatever that takes."""
        with suppress(NotFound):
            self.ask(lambda client: client.delete(self.accepted[run]))
        self.deleted[run] = datetime.now(UTC)

    def logs(self, lines: int = 40) -> str:
        """What all processes have said last."""
        return "\n".join(
            "\n".join([f"== {p.log}", *p.log.read_text().splitlines()[-lines:]])
            for p in self.processes
        )

    def end(self) -> None:
        """Stop everything."""
        stops = [threading.Thread(target=process.end) for process in self.processes]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()

    def _keep(self, name: str, *arguments: str) -> Kept:
        number = len(list(self.place.folder.glob(f"{name}-*.log"))) + 1
        return Kept(arguments, self._environment, self.place.folder / f"{name}-{number}.log")


@contextmanager
def fleet(place: Installation, *, replicas: int = 2, slots: int = 1) -> Iterator[Fleet]:
    """A fleet that is gone afterwards."""
    made = Fleet(place, replicas=replicas, slots=slots)
    try:
        made.wait_until_ready()
        yield made
    finally:
        made.end()


def sigkill(pid: int) -> None:
    """SIGKILL, as the kernel does it when there is no memory left."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
