"""How does the gateway hear what happens: each event at least once, none lost?

Messages are handed over in small batches, so that the gateway can record many in one database
transaction, and acknowledged after the handler has returned.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kombu import Connection, Consumer, Message

from skyrelay import logs
from skyrelay.broker import topology
from skyrelay.broker.connection import CHANNEL_ERRORS, CONNECTION_ERRORS, FAREWELL, connect, using
from skyrelay.errors import Retriable
from skyrelay.messages import (
    Event,
    Place,
    StageFinished,
    StageProgressed,
    StageStarted,
    UnreadableMessage,
    parse,
    place_in,
)
from skyrelay.question import Question

_log = logging.getLogger(__name__)

#: Longest wait for news, and seconds between looks at the heartbeat, at least.
TICK, HEARTBEAT_LOOK = 1.0, 0.5

#: Seconds to wait before the handler or the connection is tried again: first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0

#: Seconds to wait for company where much is going on: to record many news at once costs little more
#: than to record one. Much is going on where news of so many runs came within the last moment.
COMPANY, MANY_RUNS, MOMENT = 0.01, 4, 0.25

#: Tries of the handler for one message that fails for another reason than `Retriable`.
TRIES = 5


@dataclass(frozen=True)
class DeadLetter:
    """A message that was put aside, what it was meant for, and why, in a sentence.

    ``meant_for`` is the step whose replicas should have taken it, or `topology.DEAD_EVENT`.
    """

    body: bytes
    meant_for: str
    reason: str


#: What the handler gets.
News = Event | DeadLetter


class _Traffic:
    """Which runs something was heard of lately."""

    def __init__(self) -> None:
        self._heard: dict[UUID, float] = {}

    def note(self, run: UUID) -> None:
        """Something was heard of this run."""
        self._heard[run] = time.monotonic()

    @property
    def heavy(self) -> bool:
        """Whether something was heard of many runs in the last moment."""
        since = time.monotonic() - MOMENT
        self._heard = {run: when for run, when in self._heard.items() if when > since}
        return len(self._heard) >= MANY_RUNS


class EventConsumer:
    """Consumes stage events, progress and dead letters, until it is told to stop.

    Parameters
    ----------
    amqp_uri : str
        The broker, or the nodes of a cluster separated by ``;``. It may be away; the consumer
        comes back by itself.
    handle : callable
        Gets a batch of news in the order of their arrival. Events may come twice and out of
        order. The batch is acknowledged when it returns. When it raises `Retriable` (the
        database is away) the batch is tried again for as long as it takes; after any other
        error its messages are tried one by one, and one that fails again and again is put aside
        among the dead letters.
    batch : int
        Largest number of news at once.
    heartbeat : int
        AMQP heartbeat in seconds.
    """

    def __init__(
        self,
        amqp_uri: str,
        handle: Callable[[Sequence[News]], None],
        *,
        batch: int = 100,
        heartbeat: int = 20,
    ) -> None:
        self._uri = amqp_uri
        self._handle = handle
        self._batch = batch
        self._heartbeat = heartbeat
        self._received: list[Message] = []
        self._traffic = _Traffic()
        self._stopping = False
        self._consuming = False
        self._last_look = time.monotonic()

    def run(self) -> None:
        """Consume until `stop` is called, in this thread.

        A broker that has something else under one of our names is looked at again and again:
        somebody has to mend that, and `is_consuming` says so until then.
        """
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                with using(self._connected()) as connection:
                    self._consume(connection)
            except CONNECTION_ERRORS + CHANNEL_ERRORS as error:
                if self._consuming:
                    pause = FIRST_PAUSE
                _log.warning("the broker is away (%s); again in %.1f s", error, pause)
                self._consuming = False
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except topology.TopologyConflict as error:
                _log.error("%s", error)
                self._sleep(topology.CONFLICT_PAUSE)

    def stop(self) -> None:
        """Make `run` return after the batch in hand; safe in signal handlers."""
        self._stopping = True

    def is_consuming(self, within: float = 15.0) -> bool:
        """Whether the broker delivers to us and the consumer has been awake lately (seconds)."""
        return self._consuming and self._is_awake(within)

    def is_stuck(self, within: float = 15.0) -> bool:
        """Whether the consumer hangs: connected, and not awake within so many seconds."""
        return self._consuming and not self._is_awake(within)

    def _is_awake(self, within: float) -> bool:
        return time.monotonic() - self._last_look < within

    def _connected(self) -> Connection:
        """A connection; a ConnectionError if there is none, or `stop` is called meanwhile."""
        made = Question(
            "connecting", lambda: connect(self._uri, "events", heartbeat=self._heartbeat)
        )
        while not self._stopping:
            made.join(0.1)
            if not made.is_alive():
                return made.answer(0.0)
        raise ConnectionAbortedError("stopped before there was a connection")

    def _consume(self, connection: Connection) -> None:
        topology.declare(connection)
        self._received.clear()
        channel = connection.default_channel
        channel.basic_qos(0, 2 * self._batch, False)
        sources = [topology.gateway_events(), topology.gateway_progress(), topology.gateway_dead()]
        with Consumer(channel, sources, on_message=self._keep, auto_declare=False):
            self._last_look = time.monotonic()
            self._consuming = True
            while not self._stopping:
                self._look(connection)
                self._receive(connection)
                if self._received:
                    batch = self._received[: self._batch]
                    del self._received[: self._batch]
                    self._settle(connection, batch)
            connection.connection.sock.settimeout(FAREWELL)
        self._consuming = False

    def _keep(self, message: Message) -> None:
        self._received.append(message)

    def _receive(self, connection: Connection) -> None:
        """Wait for one message, then take what else has arrived, or is about to."""
        try:
            connection.drain_events(timeout=0.0 if self._received else TICK)
            end = time.monotonic() + (COMPANY if self._traffic.heavy else 0.0)
            while len(self._received) < self._batch:
                connection.drain_events(timeout=max(0.0, end - time.monotonic()))
        except TimeoutError:
            pass

    def _settle(self, connection: Connection, messages: list[Message]) -> None:
        """Hand over a batch and acknowledge it."""
        read: list[tuple[Message, News]] = []
        for message in messages:
            news = self._read(message)
            if isinstance(news, StageFinished):
                self._traffic.note(news.run)
            if news is None:
                # Unreadable progress is lost with this, anything else is put among the dead.
                message.reject()
            else:
                read.append((message, news))
        if not read:
            return
        if self._try(connection, [news for _, news in read]):
            # All that was delivered before the last one is in this batch, or was settled before.
            last = read[-1][0]
            last.channel.basic_ack(last.delivery_tag, multiple=True)
            return
        for message, news in read:
            with logs.about(_place_of(news)):
                if any(self._try(connection, [news]) for _ in range(TRIES)):
                    message.ack()
                else:
                    _log.error("put aside: no way to digest %s", news)
                    message.reject()

    def _try(self, connection: Connection, batch: list[News]) -> bool:
        """Call the handler; patiently while it says that trying again helps."""
        pause = FIRST_PAUSE
        while True:
            try:
                self._handle(batch)
                return True
            except Retriable as error:
                _log.warning("%s; again in %.1f s", error, pause)
            except Exception:
                _log.exception("the handler failed for a batch of %d", len(batch))
                self._rest(connection, FIRST_PAUSE)
                return False
            self._rest(connection, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if self._stopping:
                raise ConnectionAbortedError("stopped before the batch was recorded")

    def _rest(self, connection: Connection, seconds: float) -> None:
        """Wait, and read meanwhile: a broker whose heartbeats nobody reads seems to be away.

        What arrives is kept for the next batches; it is never more than the broker may send.
        """
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            with suppress(TimeoutError):
                connection.drain_events(timeout=min(left, 0.1))
            self._look(connection)

    def _look(self, connection: Connection) -> None:
        """Send and check heartbeats; raises a connection error if the broker is silent."""
        now = time.monotonic()
        if now - self._last_look >= HEARTBEAT_LOOK:
            connection.heartbeat_check(rate=topology.HEARTBEAT_RATE)
            self._last_look = now

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _read(self, message: Message) -> News | None:
        """The news in a message; None, and a line in the log, if there is none."""
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        delivery: Mapping[str, Any] = message.delivery_info or {}
        if delivery.get("exchange") == topology.DEAD.name:
            return DeadLetter(body, delivery["routing_key"], topology.reason_of(message.headers))
        try:
            content = parse(body)
        except UnreadableMessage as error:
            with logs.about(place_in(body)):
                _log.error("unreadable message (%s): %.500r", error, body)
            return None
        if isinstance(content, StageStarted | StageProgressed | StageFinished):
            return content
        with logs.about(content):
            _log.error("a message that is not for the gateway: %.500r", body)
        return None


def _place_of(news: News) -> Event | Place | None:
    return place_in(news.body) if isinstance(news, DeadLetter) else news
