"""How does a test keep an installation busy while it takes something away from under it?"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from gateway.core import Gateway
from gateway.models import Run, RunState
from tests.support.fleet import Fleet, fleet
from tests.support.gateway import opened
from tests.support.invariants import verdict
from tests.support.processes import wait_until
from tests.support.servers import Installation

#: Stages of a chain, and seconds of each.
LENGTH, SECONDS = 2, 0.4

#: Seconds between the beginnings of two chains: two slots are busy and do not fall behind.
PAUSE = 0.5

#: Of so many chains one is cancelled, so soon that its slot is free for the others.
ONE_CANCELLED_OF = 3


class Traffic:
    """Begins one chain after another on a fleet, until it is told to stop."""

    def __init__(self, fleet: Fleet, gateway: Gateway) -> None:
        self.fleet = fleet
        self.traces: dict[str, Path] = {}
        self._gateway = gateway
        self._told_to_end: set[str] = set()
        self._dice = random.Random(3)
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="traffic")

    def start(self) -> None:
        """Begin, and wait until the first chain has ended."""
        self._thread.start()
        self.wait_for_progress()

    def stop(self) -> None:
        """Begin no more chains."""
        self._stopping.set()
        self._thread.join()
        assert self._error is None, self.fleet.logs()

    def begin_chain(self) -> str:
        """Begin one chain, whatever that takes; its run."""
        trace = self.fleet.place.folder / f"trace-{len(self.fleet.accepted)}"
        order = {"trace": str(trace), "seconds": SECONDS, "stamps": True, "children": "obedient"}
        task = self.fleet.ask(lambda client: client.create_task(original_name="a.fits")).id
        run = self.fleet.process(task, ["trial"] * LENGTH, order)
        self.traces[run] = trace
        return run

    def wait_for_accepted(self) -> None:
        """Wait until one more chain has been accepted than up to now."""
        before = len(self.fleet.accepted)
        assert wait_until(lambda: len(self.fleet.accepted) > before), self.fleet.logs()

    def wait_for_progress(self) -> None:
        """Wait until one more chain has come to its good end than up to now."""
        before = self._done()
        assert wait_until(lambda: self._done() > before, 120), self.fleet.logs()

    def mishaps(self) -> Iterator[str]:
        """Chains that are not done, although nobody has cancelled them."""
        with self._gateway.database.reading() as session:
            for run in session.scalars(select(Run).where(Run.state != RunState.DONE)):
                if run.state != RunState.CANCELLED or run.id not in self._told_to_end:
                    yield f"run {run.id} is {run.state}, stage {run.position}: {run.reasons}"

    def _run(self) -> None:
        try:
            while not self._stopping.wait(PAUSE):
                run = self.begin_chain()
                if len(self.traces) % ONE_CANCELLED_OF == 0:
                    self._stopping.wait(self._dice.uniform(0, LENGTH * SECONDS))
                    self._told_to_end.add(run)
                    self.fleet.cancel(run)
        except Exception as error:
            self._error = error

    def _done(self) -> int:
        query = select(func.count()).select_from(Run).where(Run.state == RunState.DONE)
        with self._gateway.database.reading() as session:
            return session.scalar(query) or 0


@contextmanager
def traffic(place: Installation, amqp_uri: str, *, unharmed: bool = False) -> Iterator[Traffic]:
    """A fleet with traffic; at the end the invariant is asserted over everything it has done.

    No worker dies here: that something is away may delay a chain, and must fail none.

    ``unharmed``: see `tests.support.invariants.of_the_disk`.
    """
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place) as made,
    ):
        flow = Traffic(made, gateway)
        try:
            flow.start()
            yield flow
        finally:
            flow.stop()
        found = verdict(made, gateway, flow.traces, amqp_uri, unharmed=unharmed)
        found += flow.mishaps()
    assert not found, "\n".join([*found, made.logs(200)])
    assert len(flow.traces) == len(made.accepted) > 0
    assert made.cancelled
