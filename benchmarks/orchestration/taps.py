"""How many messages go through the broker? Counted by queues that get a copy of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kombu import Connection, Exchange, Queue

from skyrelay.broker import topology
from skyrelay.stages import STAGES


class Tap:
    """Queues with copies of all messages, by the name of what they listen to."""

    def __init__(self, connection: Connection, sources: Mapping[str, Sequence[str]]) -> None:
        """``sources``: exchanges that are there, and the routing keys to listen to."""
        self._channel = connection.channel()
        self._queues = {name: self._bind(name, keys) for name, keys in sources.items()}

    def counts(self) -> dict[str, int]:
        """The number of messages that have passed each exchange so far."""
        return {
            name: int(self._channel.queue_declare(queue=queue, passive=True).message_count)
            for name, queue in self._queues.items()
        }

    def _bind(self, name: str, keys: Sequence[str]) -> str:
        exchange = Exchange(name, passive=True)
        queue = Queue("", exchange, exclusive=True, auto_delete=True, durable=False)(self._channel)
        queue.queue_declare()
        for key in keys:
            queue.bind_to(exchange, routing_key=key)
        return str(queue.name)


#: Where Skyrelay's messages pass, and under which routing keys.
SKYRELAY = {
    topology.WORK.name: [stage.step for stage in STAGES],
    topology.EVENTS.name: ["#"],
    topology.KILLS.name: [""],
    topology.DEAD.name: [""],
}


@contextmanager
def tap(amqp_uri: str, sources: Mapping[str, Sequence[str]]) -> Iterator[Tap]:
    """A tap that is gone afterwards."""
    with Connection(amqp_uri) as connection:
        yield Tap(connection, sources)
