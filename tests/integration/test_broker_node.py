"""Does a broker of our own come up, keep its promises, and go away whole?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from skyrelay.stack import broker_node
from skyrelay.stack.broker_node import BrokerNode
from tests.support.processes import command_of, is_alive, wait_until

#: Starts a node in the folder given, says which processes belong to it, the Erlang machine first,
#: and waits for ever.
OWNER = """
import sys, time
from pathlib import Path
from skyrelay.stack.broker_node import BrokerNode
node = BrokerNode(Path(sys.argv[1]))
node.start()
print(node.pid, *node.members(), flush=True)
time.sleep(600)
"""

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def publish(uri: str, queue: str, body: bytes) -> None:
    with pika.BlockingConnection(pika.URLParameters(uri)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)


def fetch(uri: str, queue: str) -> bytes | None:
    with pika.BlockingConnection(pika.URLParameters(uri)) as connection:
        _, _, body = connection.channel().basic_get(queue, auto_ack=True)
    return body


def test_a_message_survives_a_restart_at_the_same_address(
    broker: BrokerNode, amqp_uri: str
) -> None:
    publish(amqp_uri, "kept", b"still here")
    address = broker.amqp_uri
    broker.restart()
    assert broker.amqp_uri == address
    assert fetch(amqp_uri, "kept") == b"still here"


def test_a_confirmed_message_survives_a_sigkill_of_the_node(
    broker: BrokerNode, amqp_uri: str
) -> None:
    publish(amqp_uri, "kept", b"still here")
    # RabbitMQ writes the names of new quorum queues to disk twice in a second, not at once.
    broker.evaluate("[ok = dets:sync(Table) || Table <- dets:all()].")
    broker.kill()
    broker.start()
    assert fetch(amqp_uri, "kept") == b"still here"


def test_each_test_has_a_virtual_host_of_its_own(broker: BrokerNode, amqp_uri: str) -> None:
    publish(amqp_uri, "work", b"ours")
    other = broker.add_vhost("another")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'work'"):
        fetch(other, "work")
    broker.delete_vhost("another")


def test_a_stopped_node_leaves_no_process_not_even_its_port_mapper(tmp_path: Path) -> None:
    with BrokerNode(tmp_path / "node") as node:
        members = node.members()
        names = {Path(command_of(pid).partition(" ")[0]).name for pid in members}
        assert {"beam.smp", "epmd"} <= names
        assert node.pid in members
    assert not [pid for pid in members if is_alive(pid)]


def test_a_node_dies_with_its_owner_even_by_sigkill(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "node")], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        beam, *members = (int(pid) for pid in owner.stdout.readline().split())
        # Of the others, some come and go.
        assert beam in members and is_alive(beam)
        os.kill(owner.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(is_alive(pid) for pid in members))


def test_two_nodes_do_not_share_a_folder(
    broker: BrokerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyrelay.stack.process.LOCK_SECONDS", 0.1)
    broker.start()
    with pytest.raises(RuntimeError, match="in use by another running process"):
        BrokerNode(broker.folder).start()


def test_a_missing_rabbitmq_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_node, "SERVER", tmp_path / "rabbitmq-server")
    with pytest.raises(RuntimeError, match=r"^RabbitMQ is not installed: run `make setup`.*\.$"):
        BrokerNode(tmp_path / "node").start()


def test_a_node_that_cannot_start_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_node, "CONFIGURATION", "no such setting = 1\n")
    with pytest.raises(RuntimeError, match=r"^The RabbitMQ node ended while it started; see .*\.$"):
        BrokerNode(tmp_path / "node").start()
