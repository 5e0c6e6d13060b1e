"""What does a test take from the broker's queues, or say a second time?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amqp.exceptions import InternalError, NotFound
from kombu import Connection, Consumer, Message, Queue, binding

from skyrelay.broker import topology
from skyrelay.messages import parse
from tests.support.processes import wait_until

#: Header of a message that an echo has published.
_ECHO = "trial-echo"


def take(amqp_uri: str, queue: str) -> list[Any]:
    """What the messages of a queue say, as soon as there is the queue and something in it."""
    return [parse(message.body) for message in taken(amqp_uri, queue)]


def taken(amqp_uri: str, queue: str) -> list[Message]:
    """The messages of a queue with their headers, as soon as there is something in it."""
    found: list[Message] = []

    def look() -> bool:
        # A queue that is being made at this moment breaks the connection of who asks for it.
        with (
            suppress(NotFound, InternalError),
            Connection(amqp_uri) as connection,
            connection.channel() as channel,
        ):
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                found.append(message)
        return bool(found)

    assert wait_until(look), f"nothing came into {queue}"
    return found


class Echo:
    """Publishes every message a second and a third time, each after a while that the dice say.

    Attributes
    ----------
    said : int
        How many messages it has published.
    """

    def __init__(self, amqp_uri: str, dice: random.Random, longest: float) -> None:
        self.said = 0
        self._uri = amqp_uri
        self._dice = dice
        self._longest = longest
        self._stopping = threading.Event()
        self._waiting: list[tuple[float, Message]] = []
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo")

    def start(self) -> None:
        """Begin to listen; returns when nothing is missed any more."""
        self._thread.start()
        assert self._listening.wait(60.0)

    def stop(self) -> None:
        """Say the rest, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        bindings = [
            binding(topology.WORK, "trial"),
            binding(topology.WORK, "divided"),
            binding(topology.DEAD),
            binding(topology.EVENTS, "#"),
            binding(topology.KILLS),
        ]
        queue = Queue("echo", bindings=bindings, exclusive=True, auto_delete=True)
        with (
            Connection(self._uri) as connection,
            connection.channel() as channel,
            Consumer(channel, [queue], on_message=self._hear, no_ack=True),
        ):
            self._listening.set()
            while not (self._stopping.is_set() and not self._waiting):
                try:
                    connection.drain_events(timeout=0.01)
                except TimeoutError:
                    pass
                self._say(channel)

    def _hear(self, message: Message) -> None:
        if _ECHO not in message.headers:
            for _ in range(2):
                due = time.monotonic() + self._dice.uniform(0, self._longest)
                self._waiting.append((due, message))

    def _say(self, channel: Any) -> None:
        for due, message in list(self._waiting):
            if due > time.monotonic():
                continue
            self._waiting.remove((due, message))
            again = channel.prepare_message(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers={_ECHO: True},
            )
            where = message.delivery_info
            channel.basic_publish(again, where["exchange"], where["routing_key"])
            self.said += 1


@contextmanager
def echo(amqp_uri: str, dice: random.Random, longest: float = 1.0) -> Iterator[Echo]:
    """An echo for a while; ``longest``: seconds after which a message comes again at the latest."""
    made = Echo(amqp_uri, dice, longest)
    made.start()
    try:
        yield made
    finally:
        made.stop()
