"""Is anything lost when the gateway dies after its commit, and before the broker has the message?

There is no hook in the gateway to stop it there. The moment is made long instead, by a broker
that stands still, or hit by chance, by killing very often.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gateway.core import Gateway
from gateway.models import OutboxMessage, Run
from skyrelay.stack.broker_node import BrokerNode
from tests.support.fleet import Fleet, Kept, fleet, sigkill
from tests.support.gateway import opened
from tests.support.invariants import verdict
from tests.support.processes import children_of, wait_until
from tests.support.report import Report
from tests.support.servers import Installation, answers

#: The answer has been sent; the message needs a few milliseconds more.
MOMENTS = (0.0, 0.008)


def _kill(server: Kept) -> None:
    """SIGKILL a server with all its processes, as when its machine dies."""
    for pid in (server.pid, *children_of(server.pid)):
        sigkill(pid)


@contextmanager
def _standing_still(broker: BrokerNode) -> Iterator[None]:
    """The broker answers nothing for a while, and then goes on."""
    members = broker.members()
    _tell(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _tell(members, signal.SIGCONT)


def _tell(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # A node asks for its free disk with short programs.
            os.kill(pid, number)


def _waiting(gateway: Gateway) -> int:
    """Messages that were decided on and are not known to be published."""
    with gateway.database.reading() as session:
        return session.scalar(select(func.count()).select_from(OutboxMessage)) or 0


@dataclass
class Scene:
    """A fleet, and runs whose gateway is killed."""

    made: Fleet
    gateway: Gateway
    broker: BrokerNode
    dice: random.Random
    report: Report
    traces: dict[str, Path] = field(default_factory=dict)

    def while_the_broker_stands_still(self) -> int:
        """Kill a web server that has answered and cannot publish; messages that waited then."""
        with _standing_still(self.broker):
            run, server = self._begin()
            _kill(server)
            waiting = _waiting(self.gateway)
        with self.report.time(
            "broker goes on, with what a dead gateway left, to the stage's beginning"
        ):
            assert wait_until(self.traces[run].exists), self.made.logs()
        return waiting

    def right_after_the_answer(self) -> int:
        """Kill a web server that has just answered; messages that waited then."""
        run, server = self._begin()
        time.sleep(self.dice.uniform(*MOMENTS))
        _kill(server)
        waiting = _waiting(self.gateway)
        how = "between commit and publish" if waiting else "right after its answer"
        with self.report.time(f"gateway killed {how} to the stage's beginning"):
            assert wait_until(self.traces[run].exists), self.made.logs()
        return waiting

    def right_after_the_stage(self) -> int:
        """Kill who has just recorded the end of a stage; messages that waited then."""
        run, _ = self._begin()
        deadline = time.monotonic() + 180.0
        while self._position(run) == 0:
            assert time.monotonic() < deadline, self.made.logs()
            time.sleep(0.005)
        for consumer in self.made.events:
            consumer.kill()
        return _waiting(self.gateway)

    def _begin(self) -> tuple[str, Kept]:
        """Begin a run; its id, and the web server that has answered."""
        made, number = self.made, len(self.traces)
        turn = number % len(made.webs)
        assert wait_until(lambda: answers(f"{made.addresses[turn]}/healthz")), made.logs()
        client = made.clients[turn]
        task = client.create_task(original_name="a.fits").id
        trace = made.place.folder / f"trace-{number}"
        order = {"trace": str(trace), "stamps": True}
        run = client.process(task, ["trial", "trial"], {"trial": order}).celery_id
        made.accepted[run] = task
        self.traces[run] = trace
        return run, made.webs[turn]

    def _position(self, run: str) -> int:
        with self.gateway.database.reading() as session:
            return session.get_one(Run, run).position


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("database_url", "times"),
    [
        ("postgresql", 3),
        pytest.param("sqlite", 30, marks=pytest.mark.soak),
        pytest.param("postgresql", 30, marks=pytest.mark.soak),
    ],
    indirect=["database_url"],
)
def test_nothing_is_lost_between_commit_and_publish(
    place: Installation, amqp_uri: str, broker: BrokerNode, times: int, report: Report
) -> None:
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place) as made,
    ):
        scene = Scene(made, gateway, broker, random.Random(5), report)
        hits: Counter[str] = Counter()
        for _ in range(times):
            for die in (
                scene.while_the_broker_stands_still,
                scene.right_after_the_answer,
                scene.right_after_the_stage,
            ):
                hits[die.__name__] += die() > 0
        found = verdict(made, gateway, scene.traces, amqp_uri)
        with gateway.database.reading() as session:
            states = set(session.scalars(select(Run.state)))
    print(
        f"\nOf {times} deaths each, so many before the message was known to be sent: {dict(hits)}"
    )
    assert not found, "\n".join([*found, made.logs()])
    assert states == {"done"}
    assert hits["while_the_broker_stands_still"] == times
