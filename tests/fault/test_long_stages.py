"""Is a stage that takes longer than the broker's patience done once, whatever the broker does?

The invariant: every command comes to exactly one end, and its work is done once. Its outcome may
be said again for a message that was delivered again; it is always the recorded one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skyrelay.messages import Outcome
from skyrelay.stack.broker_node import BrokerNode
from tests.support.processes import wait_until
from tests.support.report import Report
from tests.support.station import Station, until


@pytest.fixture
def impatient_broker(broker: BrokerNode) -> Iterator[None]:
    """The broker takes a message away from who has not acknowledged it after a second or two.

    New channels go by it; the broker looks at their messages once a second, not once a minute.
    """
    usual = broker.evaluate("{ok, Usual} = application:get_env(rabbit, consumer_timeout), Usual.")
    _set(broker, consumer_timeout="1000", channel_tick_interval="1000")
    yield
    _set(broker, consumer_timeout=usual, channel_tick_interval="60000")


def _set(broker: BrokerNode, **settings: str) -> None:
    for name, value in settings.items():
        broker.evaluate(f"ok = application:set_env(rabbit, {name}, {value}).")


@pytest.mark.usefixtures("impatient_broker")
def test_a_stage_longer_than_the_consumer_timeout_is_not_done_twice(
    station: Station, report: Report
) -> None:
    replicas = [station.ready_replica() for _ in range(2)]
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)

    def returns() -> int:
        return sum(replica.times_said("consuming") for replica in replicas) - len(replicas)

    # Taken from the one who works on it, it comes back to that one, or to the other.
    with report.time("stage begun (consumer time-out 1 to 2 s) to its consumer's return"):
        assert wait_until(lambda: returns() > 0), station.logs()
    # The other one says so; the one who works on it waits, and loses it a second time.
    again = "somebody else works on it"
    assert wait_until(lambda: returns() > 1 or any(r.said(again) for r in replicas)), station.logs()
    go.touch()
    assert station.finished(command).outcome is Outcome.DONE
    following = station.order()
    assert station.finished(following).outcome is Outcome.DONE
    station.assert_sound(command, following, begun=1)


def test_a_stage_of_many_heartbeats_keeps_its_connection(station: Station) -> None:
    # Either side gives up a connection after two of them: less would not outlast a busy machine.
    replica = station.ready_replica(heartbeat=6)
    command = station.order(seconds=20)
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)
    assert replica.log.read_text().count("consuming") == 1
