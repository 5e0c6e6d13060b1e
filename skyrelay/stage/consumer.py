"""How does a replica take commands from its queue: as many as it has slots, and none is lost?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import eventlet
from kombu import Connection, Message
from nameko.messaging import Consumer, QueueConsumer

from skyrelay import logs
from skyrelay.broker import topology
from skyrelay.broker.connection import CONNECTION_ERRORS, connect, using
from skyrelay.broker.topology import TopologyConflict
from skyrelay.messages import RunStage, UnreadableMessage, parse, place_in
from skyrelay.settings import Settings
from skyrelay.stage.pool import WorkerPool
from skyrelay.stage.sender import NotSent, Sender
from skyrelay.stages import stages_of_service

_log = logging.getLogger(__name__)

#: Pause between tries to connect, in seconds: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0

#: Seconds between looks at the heartbeat, at least.
HEARTBEAT_LOOK = 0.5

#: The consumer looks around at least once a second; later than that it hangs.
AWAKE = 10.0


class CommandQueueConsumer(QueueConsumer):
    """nameko's consumer, with our topology, a prefetch of the slots, and a patient end.

    It begins when the first worker is warm. When the replica is to end it takes no new message,
    but keeps its connection until the stages in hand have been acknowledged.
    """

    pool = WorkerPool()

    def __init__(self) -> None:
        super().__init__()
        self._starting = False
        self._connected = False
        self._draining = False
        self._last_look = 0.0
        self._connection: Connection | None = None

    @property
    def settings(self) -> Settings:
        settings: Settings = self.container.config["SETTINGS"]
        return settings

    @property
    def prefetch_count(self) -> int:
        """As many messages as there are slots: what we cannot work on belongs to others."""
        return self.settings.skyrelay_slots

    @property
    def consuming(self) -> bool:
        """Whether the broker delivers to us and the consumer has been awake lately."""
        return self._connected and self._awake and bool(self._consumers)

    @property
    def stuck(self) -> bool:
        """Whether the consumer is connected and has not been awake lately: it hangs."""
        return self._connected and not self._awake

    @property
    def _awake(self) -> bool:
        return time.monotonic() - self._last_look < AWAKE

    @property
    def draining(self) -> bool:
        """Whether the replica takes no new messages because it is about to end."""
        return self._draining

    def run(self) -> None:
        """Consume; called in a thread of the container."""
        self.pool.wait_until_warm()
        if not self._draining:
            super().run()

    def start(self) -> None:
        """Begin, without waiting for a broker that may be away."""
        if not self._starting:
            self._starting = True
            self._gt = self.container.spawn_managed_thread(self.run, identifier="consumer")

    def drain(self) -> None:
        """Take no new messages; those in hand can still be acknowledged."""
        self._draining = True
        self._providers.clear()
        while self._connected and self._consumers:
            eventlet.sleep(0.01)

    def stop(self) -> None:
        """Close the connection."""
        self.should_stop = True
        if self._gt is not None:
            if self._connected:  # Else it waits for a broker, and for nothing else.
                with eventlet.Timeout(5, False):
                    self._gt.wait()
            self._gt.kill()

    kill = stop

    @contextmanager
    def establish_connection(self) -> Iterator[Connection]:
        """A connection on which our topology is there."""
        with using(self._connect()) as connection:
            self._declare(connection)
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None
                self._connected = False
                self._consumers.clear()

    def _connect(self) -> Connection:
        uri, heartbeat = self.settings.amqp_uri, self.settings.skyrelay_heartbeat
        pause = FIRST_PAUSE
        while True:
            try:
                return connect(uri, "commands", heartbeat=heartbeat)
            except CONNECTION_ERRORS as error:
                _log.warning("the broker is away (%s); again in %.1f s", error, pause)
            eventlet.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def get_consumers(self, consumer_cls: Callable[..., Any], channel: Any) -> Any:
        """The consumer of the service's queue, which gets messages undecoded."""
        for provider in self._providers:
            consumer = consumer_cls(
                queues=[provider.queue],
                on_message=partial(self._receive, provider),
                auto_declare=False,
            )
            consumer.qos(prefetch_count=self.prefetch_count)
            self._consumers[provider] = consumer
        return self._consumers.values()

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **_: Any) -> None:
        """The broker delivers to us from now on."""
        _log.info("consuming", extra={"queues": [p.queue.name for p in self._providers]})
        self._last_look = time.monotonic()
        self._connected = True

    def on_iteration(self) -> None:
        """At least once a second; kombu itself looks at heartbeats only while nothing arrives."""
        now = time.monotonic()
        if self._connection is not None and now - self._last_look >= HEARTBEAT_LOOK:
            self._connection.heartbeat_check(rate=topology.HEARTBEAT_RATE)
            self._last_look = now
        if self._draining:
            while self._consumers:
                self._consumers.popitem()[1].cancel()

    def _receive(self, provider: CommandConsumer, message: Message) -> None:
        self.container.spawn_managed_thread(
            partial(provider.take, message), identifier=provider.queue.name
        )

    def _declare(self, connection: Connection) -> None:
        while not self.should_stop:
            try:
                topology.declare(connection)
                return
            except TopologyConflict as error:
                _log.error("%s", error)
                eventlet.sleep(topology.CONFLICT_PAUSE)


class CommandConsumer(Consumer):
    """Entrypoint: calls the method with every command for the stages of its service.

    The message is acknowledged when the method returns, and goes back to the queue when it
    raises. What is no command for this service is put aside with the reason.
    """

    queue_consumer = CommandQueueConsumer()
    sender = Sender()

    def __init__(self) -> None:
        super().__init__(None, requeue_on_error=True)

    def setup(self) -> None:
        """Called when it is known to which service this belongs."""
        settings: Settings = self.container.config["SETTINGS"]
        self._service = self.container.service_name
        self.queue = topology.work_queue(self._service, settings.skyrelay_lane)
        super().setup()

    def stop(self) -> None:
        """Take no new messages."""
        self.queue_consumer.drain()

    def take(self, message: Message) -> None:
        """Work on a message, or put it aside."""
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        try:
            command = parse(body)
            if not isinstance(command, RunStage) or not self._is_ours(command):
                raise UnreadableMessage(f"it is no command for the service {self._service}")
        except UnreadableMessage as error:
            with logs.about(place_in(body)):
                self._put_aside(message, body, f"The message could not be read: {error}")
            return
        self.handle_message(command, message)

    def _is_ours(self, command: RunStage) -> bool:
        return command.step in {stage.step for stage in stages_of_service(self._service)}

    def _put_aside(self, message: Message, body: bytes, reason: str) -> None:
        _log.error("put aside: %s", reason, extra={"service": self._service})
        try:
            self.sender.put_aside(body, message.delivery_info["routing_key"], reason)
        except NotSent:
            self.queue_consumer.requeue_message(message)
        else:
            self.queue_consumer.ack_message(message)


run_stages = CommandConsumer.decorator
"""Marks the method of a service that does its stages' commands."""
