"""What does a partition of the broker cost? Time on one side, and nothing that was confirmed.

Three nodes with quorum queues; one of them is cut off from the other two, while clients can still
reach all three. The invariant: *every accepted run reaches exactly one terminal state, its
products are those of exactly one attempt, nothing runs after its end, nothing remains on disk or
in the process table*; and every message that was confirmed, on whatever side, is there afterwards.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skyrelay.broker.connection import connect
from skyrelay.broker.publisher import BrokerAway, Publisher, declare_topology
from skyrelay.broker.topology import Route
from tests.support.broker_cluster import (
    NET_TICKTIME,
    START_SECONDS,
    BrokerCluster,
    broker_cluster,
)
from tests.support.processes import wait_until
from tests.support.report import Report
from tests.support.servers import TRIAL, installation
from tests.support.traffic import traffic

#: The node that is cut off.
LONELY = 0

QUEUE = "diary"

pytestmark = pytest.mark.usefixtures("repetition")


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerCluster]:
    """Three nodes that are one broker."""
    with broker_cluster(tmp_path_factory.mktemp("brokers")) as made:
        yield made


class Diarist:
    """Publishes one number after another, and remembers which were confirmed."""

    def __init__(self, amqp_uri: str) -> None:
        self.confirmed: list[str] = []
        self._publisher = Publisher(amqp_uri)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="diarist")
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        route = Route("", QUEUE, mandatory=True, persistent=True)
        with self._publisher:
            while not self._stopping.wait(0.05):
                word = secrets.token_hex(4)
                try:
                    self._publisher.publish_raw(word.encode(), route)
                    self.confirmed.append(word)
                except BrokerAway:
                    pass


@contextmanager
def diarist(amqp_uri: str) -> Iterator[Diarist]:
    """A diarist who has written something, and does not go on afterwards."""
    made = Diarist(amqp_uri)
    try:
        assert wait_until(lambda: made.confirmed)
        yield made
    finally:
        made.stop()


def read_diary(amqp_uri: str) -> set[str]:
    with connect(amqp_uri, "test") as connection, connection.channel() as channel:
        found = set()
        while (message := channel.basic_get(QUEUE, no_ack=True)) is not None:
            found.add(str(message.body))
        return found


def all_are_back(brokers: BrokerCluster, lonely: Diarist, before: int) -> bool:
    """Whether all nodes see each other, and the one that was cut off has confirmed something."""
    try:
        return brokers.all_neighbours() == [3] * 3 and len(lonely.confirmed) > before
    except RuntimeError:  # A node that hangs answers nobody.
        return False


def test_a_partition_of_the_broker_loses_nothing_that_was_confirmed(
    brokers: BrokerCluster, tmp_path: Path, report: Report
) -> None:
    vhost = f"test-{secrets.token_hex(4)}"
    uri = brokers.add_vhost(vhost)
    # Whatever lives on one node only lives on that one.
    declare_topology(brokers.nodes[LONELY].uri_of(vhost))
    with connect(uri, "test") as connection:
        connection.default_channel.queue_declare(
            QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
    with (
        installation(tmp_path, f"sqlite:///{tmp_path / 'gateway.db'}", uri, **TRIAL) as place,
        traffic(place, uri) as flow,
        diarist(brokers.nodes[LONELY].uri_of(vhost)) as lonely,
        diarist(uri) as failing_over,
    ):
        assert brokers.members_of(vhost, "work.trial") == 3
        with report.time(f"partition (net_ticktime {NET_TICKTIME} s) to the lonely node's pause"):
            brokers.cut_off(LONELY)
            assert wait_until(lambda: brokers.neighbours(LONELY) == 0), brokers.logs()
        with report.time("pause of the lonely node to a chain's end"):
            flow.wait_for_progress()
        written, alone = len(failing_over.confirmed), len(lonely.confirmed)
        assert wait_until(lambda: len(failing_over.confirmed) > written + 5), "it failed over"
        assert len(lonely.confirmed) == alone, "who reaches only the lonely node has to wait"
        brokers.heal()
        with report.time("end of the partition to three nodes that all confirm again"):
            if not wait_until(lambda: all_are_back(brokers, lonely, alone)):
                # Erlang's `global` may hang for ever when a node comes back, as the node's log
                # then says. It answers nobody, and its operator has to restart it.
                report.say("the lonely node hung when it came back, and was restarted")
                brokers.nodes[LONELY].kill()
                brokers.nodes[LONELY].start(START_SECONDS)
                back = wait_until(lambda: all_are_back(brokers, lonely, alone), START_SECONDS)
                assert back, brokers.logs()
        flow.wait_for_progress()
    assert {*lonely.confirmed, *failing_over.confirmed} <= read_diary(uri)
