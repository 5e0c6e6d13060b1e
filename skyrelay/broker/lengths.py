"""How many messages stand in the broker's queues, and does anybody take them?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kombu import Connection


@dataclass(frozen=True)
class Length:
    """Messages that nobody has taken yet, and consumers, of one queue."""

    messages: int
    consumers: int


def lengths(connection: Connection, queues: Iterable[str]) -> Mapping[str, Length]:
    """The lengths of these queues.

    Raises
    ------
    An error of the channel
        If there is no such queue, see `skyrelay.broker.connection.CHANNEL_ERRORS`.
    """
    found = {}
    with connection.channel() as channel:
        for queue in queues:
            declared = channel.queue_declare(queue, passive=True)
            found[queue] = Length(declared.message_count, declared.consumer_count)
    return found
