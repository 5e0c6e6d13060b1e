"""What does the consumer of events say of itself?"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from skyrelay.broker.consumer import EventConsumer, News
from skyrelay.broker.publisher import Publisher
from skyrelay.messages import StageStarted
from tests.support.processes import wait_until


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
        event = StageStarted(
            run=uuid4(), task=1, index=0, step="inspect", worker="w", started=datetime.now(UTC)
        )
        with Publisher(amqp_uri) as publisher:
            publisher.publish(event)
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
