"""How does the consumer of events stand what holds it up, and what does it say of itself?"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from uuid import uuid4

import pytest

from skyrelay.broker.consumer import TRIES, EventConsumer, News
from skyrelay.broker.publisher import Publisher
from skyrelay.errors import Retriable
from skyrelay.messages import StageStarted
from tests.support.processes import wait_until

#: Seconds between heartbeats: those of a broker are missed after twice that.
HEARTBEAT = 5


def test_a_broker_is_heard_while_the_database_is_waited_for(
    amqp_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the connection is lost, and each loss is one of the deliveries that an event has."""
    first, second = _started(), _started()
    back = threading.Event()
    tried: list[float] = []
    handled: list[News] = []

    def handle(batch: Sequence[News]) -> None:
        tried.append(time.monotonic())
        if not back.is_set():
            raise Retriable("the database is away")
        handled.extend(batch)

    consumer = EventConsumer(amqp_uri, handle, heartbeat=HEARTBEAT)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        assert wait_until(consumer.is_consuming)
        with Publisher(amqp_uri) as publisher:
            publisher.publish(first)
            assert wait_until(lambda: tried)
            publisher.publish(second)
        assert wait_until(lambda: time.monotonic() - tried[0] > 3 * HEARTBEAT)
        back.set()
        assert wait_until(lambda: handled == [first, second]), handled
        assert "the broker is away" not in caplog.text
    finally:
        consumer.stop()
        thread.join()


def test_a_consumer_is_awake_while_many_messages_fail_again_and_again(amqp_uri: str) -> None:
    """Else it is taken for one that hangs, and its process is restarted."""
    count = 6
    published = threading.Event()
    looks: list[float] = []
    put_aside: list[News] = []

    def handle(batch: Sequence[News]) -> None:
        if any(isinstance(news, StageStarted) for news in batch):
            published.wait(60)
            looks.append(consumer._last_look)
            raise ZeroDivisionError
        put_aside.extend(batch)

    consumer = EventConsumer(amqp_uri, handle)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        assert wait_until(consumer.is_consuming)
        with Publisher(amqp_uri) as publisher:
            for _ in range(count):
                publisher.publish(_started())
        published.set()
        assert wait_until(lambda: len(put_aside) == count)
        tries_at_one_look = max(len(list(tries)) for _, tries in groupby(looks))
        assert tries_at_one_look <= TRIES
    finally:
        published.set()
        consumer.stop()
        thread.join()


def _started() -> StageStarted:
    now = datetime.now(UTC)
    return StageStarted(run=uuid4(), task=1, index=0, step="inspect", worker="w", started=now)


def test_a_consumer_whose_handler_hangs_is_stuck_and_one_without_a_broker_is_not(
    amqp_uri: str,
) -> None:
    hung, go_on = threading.Event(), threading.Event()

    def handle(batch: Sequence[News]) -> None:
        hung.set()
        go_on.wait(60)

    consumer = EventConsumer(amqp_uri, handle)
    thread = threading.Thread(target=consumer.run)
    assert not consumer.is_stuck(within=0.0), "it has not begun"
    thread.start()
    try:
        assert wait_until(consumer.is_consuming)
        assert not consumer.is_stuck()
        with Publisher(amqp_uri) as publisher:
            publisher.publish(_started())
        assert hung.wait(60)
        assert wait_until(lambda: consumer.is_stuck(within=2.0))
        assert not consumer.is_consuming(within=2.0)
        go_on.set()
        assert wait_until(consumer.is_consuming)
        assert not consumer.is_stuck()
    finally:
        go_on.set()
        consumer.stop()
        thread.join()
