"""What do broker, database and gateway take while a backlog is drained?"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pika

from benchmarks.orchestration.api import Api
from benchmarks.orchestration.filling import fill
from benchmarks.orchestration.installation import installation
from benchmarks.orchestration.processes import proportional_memory
from benchmarks.orchestration.relay.stages import FIRST
from benchmarks.resources.images import Needs
from benchmarks.resources.peaks import Need, Peaks
from skyrelay.stack.broker_node import BrokerNode

#: Connections that are opened at the end.
CONNECTIONS = 100
#: Seconds in which their memory comes to rest.
_SETTLE = 5.0
#: Replicas of a stage that does nothing, and so asks for the next command at once.
REPLICAS = 4


def needs_of_backlog(
    folder: Path, tasks: int, database_url: str, database: int, say: Callable[[str], None]
) -> Needs:
    """Fill a queue with as many runs and drain it.

    ``database``: process id of the server at ``database_url``.
    """
    with (
        BrokerNode(folder / "broker") as node,
        installation(
            folder / "skyrelay", node.amqp_uri, database_url=database_url, replicas={}, say=say
        ) as stack,
    ):
        assert node.pid is not None
        containers = {
            "gateway-web": stack.processes["web"],
            "gateway-events": stack.processes["events"],
            "rabbitmq": node.pid,
            "postgresql": database,
        }
        with Peaks(containers) as peaks:
            say(f"Making {tasks} tasks with a run each.")
            for _ in fill(stack, tasks):
                pass
            say(f"Draining with {REPLICAS} replicas.")
            for _ in range(REPLICAS):
                stack.add_replica(FIRST.service)
            api = Api(stack.base_url, stack.admin_token)
            while api.count(FIRST.state_done) < tasks:
                time.sleep(1.0)
            api.close()
        found = {name: peaks.of(name) for name in containers}
        say(f"Opening {CONNECTIONS} connections that listen.")
        found[f"rabbitmq, {CONNECTIONS} connections"] = _connections(node)
    return found


def _connections(node: BrokerNode) -> Need:
    """What as many more connections as `CONNECTIONS` take of the broker, each with a queue."""
    assert node.pid is not None
    broker = {"rabbitmq": node.pid}
    before = proportional_memory(broker)["rabbitmq"]
    listeners = []
    with Peaks(broker) as peaks:
        for _ in range(CONNECTIONS):
            listeners.append(pika.BlockingConnection(pika.URLParameters(node.amqp_uri)))
            channel = listeners[-1].channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_consume(queue, lambda *_: None)
        time.sleep(_SETTLE)
    for listener in listeners:
        listener.close()
    taken = peaks.of("rabbitmq")
    return Need(round(taken.memory - before), taken.cpu)
