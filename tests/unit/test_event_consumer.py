"""When does the consumer of events wait for company?"""

from __future__ import annotations

from uuid import uuid4

import pytest

from skyrelay.broker import consumer


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(consumer, "time", made)
    return made


def test_one_chain_never_waits_however_fast_it_is(clock: Clock) -> None:
    traffic, run = consumer._Traffic(), uuid4()
    for _ in range(100):
        traffic.note(run)
    assert not traffic.heavy


def test_many_runs_within_a_moment_are_worth_waiting_for(clock: Clock) -> None:
    traffic = consumer._Traffic()
    for _ in range(consumer.MANY_RUNS):
        traffic.note(uuid4())
    assert traffic.heavy
    clock.now += 2 * consumer.MOMENT
    assert not traffic.heavy
