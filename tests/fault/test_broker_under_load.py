"""What does it cost when the broker goes under load: in mid-stage, with outcomes and commands?

A whole installation, two of each process, with chains that begin all the time. The invariant:
*every accepted run reaches exactly one terminal state, its products are those of exactly one
attempt, nothing runs after its end, nothing remains on disk or in the process table.*
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.stack.broker_node import BrokerNode
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.support.report import Report
from tests.support.servers import TRIAL, installation
from tests.support.traffic import SECONDS, Traffic, traffic

#: More than any disk has, and what the node was configured with.
ALARMING, USUAL = 10**18, 50 * 10**6

#: Seconds for which the alarm lasts: longer than a publisher waits for a confirmation.
ALARM = 12.0

#: Of all processes, in seconds: a silent connection is given up after two of them.
HEARTBEAT = 3

pytestmark = pytest.mark.usefixtures("repetition")


@pytest.fixture
def flow(tmp_path: Path, amqp_uri: str, network: Proxy) -> Iterator[Traffic]:
    """Traffic over that network."""
    settings = TRIAL | {"skyrelay_heartbeat": HEARTBEAT}
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    with (
        installation(tmp_path, url, network.uri(amqp_uri), **settings) as place,
        traffic(place, amqp_uri, unharmed=True) as made,
    ):
        yield made


def test_a_broker_that_stops_dies_or_has_no_disk_delays_and_loses_nothing(
    broker: BrokerNode, flow: Traffic, report: Report
) -> None:
    for stop in (BrokerNode.stop, BrokerNode.kill):
        stop(broker)
        flow.wait_for_accepted()
        broker.start()
        with report.time(f"broker up again after {stop.__name__} to the end of the next chain"):
            flow.wait_for_progress()
    broker.evaluate(f"ok = rabbit_disk_monitor:set_disk_free_limit({ALARMING}).")
    try:
        time.sleep(ALARM)
        flow.wait_for_accepted()
    finally:
        broker.evaluate(f"ok = rabbit_disk_monitor:set_disk_free_limit({USUAL}).")
    with report.time("disk alarm cleared to the end of the next chain"):
        flow.wait_for_progress()


def test_a_broker_that_dies_while_it_is_told_something_is_told_again(
    broker: BrokerNode, network: Proxy, flow: Traffic, report: Report
) -> None:
    """By the gateway that publishes a command, and by a replica with an outcome."""
    for who, waits in (("publisher", 0.0), ("outcomes", 2 * SECONDS)):
        assert wait_until(lambda who=who: network.swallow(f"skyrelay {who}") > 0)
        flow.wait_for_accepted()
        time.sleep(waits)
        broker.kill()
        # What was said on these connections has never reached the broker.
        network.reset()
        broker.start()
        with report.time(f"broker up again that died while {who} spoke to a chain's end"):
            flow.wait_for_progress()


def test_connections_that_are_reset_or_swallowed_return_and_lose_nothing(
    network: Proxy, flow: Traffic, report: Report
) -> None:
    for _ in range(5):
        time.sleep(1.0)
        network.reset()
    flow.wait_for_progress()
    for who in ("events", "publisher"):
        assert wait_until(lambda who=who: network.swallow(f"skyrelay {who}") > 0)
        with report.time(f"all {who} in a black hole (heartbeat {HEARTBEAT} s) to a chain's end"):
            flow.wait_for_progress()
    # Who still waits for an answer gets it now, and not when the replicas have ended.
    network.heal()
