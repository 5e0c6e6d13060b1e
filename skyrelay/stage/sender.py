"""How does a replica make sure that what it says arrives, even while the broker is away?"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import eventlet
from eventlet.event import Event
from eventlet.queue import Queue
from kombu import Connection, Producer
from nameko.extensions import SharedExtension

from skyrelay import logs, tracing
from skyrelay.broker import topology
from skyrelay.broker.connection import connect, drop
from skyrelay.broker.topology import Route
from skyrelay.messages import Message, Place, RunStage, StageProgressed, place_in
from skyrelay.settings import Settings

_log = logging.getLogger(__name__)

#: Seconds after which a broker that does not confirm counts as away.
PATIENCE = 10.0

#: Pause before a message is published again, in seconds: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0

#: Progress that cannot be sent is forgotten when this many messages wait.
LONGEST_QUEUE = 100


class NotSent(Exception):
    """The replica ends before the broker has confirmed the message."""


@dataclass(eq=False)
class _Letter:
    body: str
    route: Route
    about: Message | Place | None
    headers: dict[str, str] = field(default_factory=dict)
    outcome: Event = field(default_factory=Event)

    def settle(self, sent: bool) -> None:
        """Let go whoever waits for it, if nobody has done so before."""
        if not self.outcome.ready():
            self.outcome.send(sent)


class Sender(SharedExtension):
    """Publishes one message after another, each until it is confirmed."""

    def __init__(self) -> None:
        self._letters: Queue = Queue()
        self._waited_for: set[_Letter] = set()
        self._abandoned = False
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def setup(self) -> None:
        settings: Settings = self.container.config["SETTINGS"]
        self._amqp_uri = settings.amqp_uri
        self._thread = self.container.spawn_managed_thread(self._run, identifier="sender")

    def stop(self) -> None:
        self._thread.kill()

    kill = stop

    def send(self, message: Message) -> None:
        """Publish; returns when the broker has it, however long that takes.

        Raises
        ------
        NotSent
            If the replica has to end before that.
        """
        self._send(_letter(message, topology.route_of(message)))

    def send_later(self, command: RunStage, delay: float) -> None:
        """Publish a command that becomes due after ``delay`` seconds; raises what `send` does."""
        self._send(_letter(command, topology.retry_route(command, delay)))

    def put_aside(self, body: bytes, step: str, reason: str) -> None:
        """Publish what nobody can work on to the dead letters; raises what `send` does."""
        headers = {topology.REASON_HEADER: reason}
        text = body.decode("utf-8", errors="replace")
        self._send(_Letter(text, topology.dead_route(step), place_in(body), headers))

    def mention(self, message: Message) -> None:
        """Publish soon, without waiting for it."""
        if not isinstance(message, StageProgressed) or self._letters.qsize() < LONGEST_QUEUE:
            self._letters.put(_letter(message, topology.route_of(message)))

    def abandon(self) -> None:
        """Let everybody who waits for a confirmation go: the replica has to end.

        At once: the address of a broker that is away may be looked for for half a minute.
        """
        self._abandoned = True
        for letter in self._waited_for:
            letter.settle(False)

    def _send(self, letter: _Letter) -> None:
        if self._abandoned:
            raise NotSent
        self._waited_for.add(letter)
        self._letters.put(letter)
        try:
            if not letter.outcome.wait():
                raise NotSent
        finally:
            self._waited_for.discard(letter)

    def _run(self) -> None:
        while True:
            letter = self._letters.get()
            with logs.about(letter.about):
                letter.settle(self._deliver(letter))

    def _deliver(self, letter: _Letter) -> bool:
        pause = FIRST_PAUSE
        while not self._abandoned:
            try:
                self._publish(letter)
                if letter.route.persistent and not isinstance(letter.about, Place | None):
                    tracing.sent(letter.about)
                return True
            except Exception as error:
                # Whatever it is, the message must not be lost with it.
                self._disconnect()
                if not letter.route.persistent:
                    return False
                _log.warning(
                    "the broker did not take a message (%s: %s); again in %.1f s",
                    type(error).__name__,
                    error,
                    pause,
                )
                eventlet.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return False

    def _publish(self, letter: _Letter) -> None:
        route = letter.route
        self._connected().publish(
            letter.body,
            exchange=route.exchange,
            routing_key=route.routing_key,
            mandatory=route.mandatory,
            delivery_mode=2 if route.persistent else 1,
            headers=letter.headers,
            content_type="application/json",
            content_encoding="utf-8",
            timeout=PATIENCE,
            confirm_timeout=PATIENCE,
        )

    def _connected(self) -> Producer:
        if self._producer is None:
            self._connection = connect(self._amqp_uri, "outcomes", confirms=True)
            self._producer = Producer(self._connection.default_channel)
        return self._producer

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            drop(connection)


def _letter(message: Message, route: Route) -> _Letter:
    return _Letter(message.to_json(), route, message, tracing.headers(message) or {})
