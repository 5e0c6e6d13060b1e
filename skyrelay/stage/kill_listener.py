"""How does a replica hear a kill at once, even while every worker is busy?

With a connection and a queue of its own, outside nameko's worker pool: an ordinary entrypoint
would wait for a free slot.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import eventlet
from kombu import Connection, Consumer, Message
from nameko.extensions import SharedExtension

from skyrelay import logs
from skyrelay.broker import topology
from skyrelay.broker.connection import CHANNEL_ERRORS, CONNECTION_ERRORS, connect, using
from skyrelay.messages import KillRun, UnreadableMessage, parse, place_in
from skyrelay.settings import Settings

_log = logging.getLogger(__name__)

#: Longest wait for a message, and seconds between looks at the heartbeat, at least.
TICK, HEARTBEAT_LOOK = 1.0, 0.5

#: Pause before the next try to connect, in seconds: first and longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 3.0


class KillListener(SharedExtension):
    """Calls whoever asked for it when a run is to be killed."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[UUID, str], None]] = []
        self._last_look = 0.0
        self._connected = False

    def setup(self) -> None:
        self._settings: Settings = self.container.config["SETTINGS"]

    def start(self) -> None:
        self._thread = self.container.spawn_managed_thread(self._run, identifier="kill listener")

    def stop(self) -> None:
        self._thread.kill()

    # No `kill`: a container that dies ends its threads itself, and the cause may be this thread,
    # which must not be interrupted while it takes the container down.

    @property
    def listening(self) -> bool:
        """Whether the listener has been connected and awake within the last seconds."""
        return time.monotonic() - self._last_look < 5 * TICK

    @property
    def stuck(self) -> bool:
        """Whether the listener is connected and has not been awake lately: it hangs."""
        return self._connected and not self.listening

    def on_kill(self, callback: Callable[[UUID, str], None]) -> None:
        """Have ``callback`` called with the run and the reason of every kill; it must not block."""
        self._callbacks.append(callback)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            try:
                with using(self._connect()) as connection:
                    self._listen(connection)
            except CONNECTION_ERRORS + CHANNEL_ERRORS as error:
                self._connected = False
                if time.monotonic() - started > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                _log.warning("kills are not heard (%s); again in %.1f s", error, pause)
                eventlet.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _connect(self) -> Connection:
        settings = self._settings
        return connect(settings.amqp_uri, "kills", heartbeat=settings.skyrelay_heartbeat)

    def _listen(self, connection: Connection) -> None:
        topology.KILLS(connection.default_channel).declare()
        queue = topology.kill_queue()
        with Consumer(connection, [queue], on_message=self._hear, no_ack=True):
            while True:
                now = time.monotonic()
                if now - self._last_look >= HEARTBEAT_LOOK:
                    connection.heartbeat_check(rate=topology.HEARTBEAT_RATE)
                    self._last_look = now
                self._connected = True
                with suppress(TimeoutError):
                    connection.drain_events(timeout=TICK)

    def _hear(self, message: Message) -> None:
        try:
            command = parse(message.body)
        except UnreadableMessage as error:
            with logs.about(place_in(message.body)):
                _log.error("unreadable kill (%s)", error)
            return
        if isinstance(command, KillRun):
            for callback in self._callbacks:
                callback(command.run, command.reason)
