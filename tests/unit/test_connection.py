"""Is a broker of one node or of several found by all who look for it?"""

from __future__ import annotations

import pytest

from skyrelay.broker.connection import addresses, connect
from skyrelay.broker.publisher import BrokerAway, Publisher
from skyrelay.settings import Settings
from skyrelay.stack.ports import LOOPBACK, free_ports


def test_all_nodes_of_a_cluster_are_named_in_one_setting() -> None:
    settings = Settings(_env_file=None, amqp_uri="amqp://a//; amqp://b:1/%2F;amqp://c/other")
    assert sorted(addresses(settings.amqp_uri)) == [
        "amqp://a/%2F",
        "amqp://b:1/%2F",
        "amqp://c/other",
    ]


def test_every_node_is_the_first_now_and_then() -> None:
    assert {addresses("amqp://a;amqp://b;amqp://c")[0][-1] for _ in range(200)} == {"a", "b", "c"}


def test_a_broker_of_which_no_node_answers_is_away() -> None:
    nodes = ";".join(f"amqp://{LOOPBACK}:{port}/%2F" for port in free_ports(2))
    with pytest.raises(ConnectionError, match="refused"):
        connect(nodes, "test")
    with pytest.raises(BrokerAway, match="refused"):
        Publisher(nodes).connect()
