"""How does the gateway hand commands to the broker, and know that they have arrived?

Confirmed by the broker and, where the route says so, refused when no queue takes the message.
A publisher belongs to one thread.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

import pika
from pika.adapters.blocking_connection import BlockingChannel

from skyrelay import tracing
from skyrelay.broker import topology
from skyrelay.broker.connection import (
    CHANNEL_ERRORS,
    CONNECTION_ERRORS,
    FAREWELL,
    addresses,
    client_properties,
    connect,
    trusting,
    using,
)
from skyrelay.broker.topology import Route
from skyrelay.messages import Message
from skyrelay.question import Question

_log = logging.getLogger(__name__)

#: Seconds after which a broker that does not answer counts as away.
PATIENCE = 10.0

JSON = "application/json"


class BrokerAway(Exception):
    """The broker cannot be reached, or did not confirm: publish again later."""


class Unroutable(Exception):
    """No queue takes this message: an alarm, because nobody would ever work on it."""


class Publisher:
    """Publishes messages with confirms; connects when first needed and again after a fault.

    Parameters
    ----------
    amqp_uri : str
        The broker, or the nodes of a cluster separated by ``;``.
    heartbeat : int
        Seconds. `keep_alive` must be called at least that often while nothing is published.
    """

    def __init__(self, amqp_uri: str, heartbeat: int = 20) -> None:
        self._uri = amqp_uri
        self._heartbeat = heartbeat
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def connect(self) -> None:
        """Connect now, so that the first message need not wait for it.

        Raises
        ------
        BrokerAway
            If the broker cannot be reached.
        """
        try:
            self._open_channel()
        except (pika.exceptions.AMQPError, OSError) as error:
            self.close()
            raise BrokerAway(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def publish(self, message: Message) -> None:
        """Publish one message; when this returns, the broker has it.

        Raises
        ------
        BrokerAway
            Perhaps it was not published; publishing it again does no harm.
        Unroutable
            No queue takes it, although one must.
        """
        body, headers = message.to_json().encode(), tracing.headers(message)
        self.publish_raw(body, topology.route_of(message), headers)
        tracing.sent(message)

    def publish_raw(
        self,
        body: bytes,
        route: Route,
        headers: dict[str, str] | None = None,
        *,
        content_type: str = JSON,
        message_id: str | None = None,
    ) -> None:
        """Publish a body as it is; raises what `publish` raises."""
        properties = pika.BasicProperties(
            content_type=content_type,
            content_encoding="utf-8" if content_type == JSON else None,
            delivery_mode=2 if route.persistent else 1,
            headers=headers,
            message_id=message_id,
        )
        fresh = self._channel is None
        try:
            self._publish(body, route, properties)
        except BrokerAway:
            if fresh:
                raise
            # The connection had been idle and may have been lost long ago.
            self._publish(body, route, properties)

    def keep_alive(self) -> None:
        """Answer the broker's heartbeats; a lost connection is noticed and forgotten."""
        if self._connection is None:
            return
        try:
            self._connection.process_data_events(0)
        except pika.exceptions.AMQPError:
            self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is None or not connection.is_open:
            return
        try:
            # Of itself it would wait for the answer for as long as heartbeats may be missing.
            Question("farewell", connection.close).answer(FAREWELL)
        except (pika.exceptions.AMQPError, OSError):
            _log.debug("the connection was lost while it was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _publish(self, body: bytes, route: Route, properties: pika.BasicProperties) -> None:
        try:
            self._open_channel().basic_publish(
                route.exchange, route.routing_key, body, properties, mandatory=route.mandatory
            )
        except pika.exceptions.UnroutableError as error:
            raise Unroutable(
                f"no queue takes messages for `{route.routing_key}` from {route.exchange}"
            ) from error
        except (pika.exceptions.AMQPError, OSError) as error:
            self.close()
            raise BrokerAway(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def _open_channel(self) -> BlockingChannel:
        if self._channel is not None and self._channel.is_open:
            return self._channel
        self.close()
        declare_topology(self._uri)
        self._connection = pika.BlockingConnection(
            [self._parameters(uri) for uri in addresses(self._uri)]
        )
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        return self._channel

    def _parameters(self, uri: str) -> pika.URLParameters:
        parameters = pika.URLParameters(uri)
        if parameters.ssl_options is not None:
            parameters.ssl_options = pika.SSLOptions(trusting(), parameters.host)
        parameters.client_properties = client_properties("publisher")
        parameters.heartbeat = self._heartbeat
        parameters.socket_timeout = parameters.stack_timeout = PATIENCE
        parameters.blocked_connection_timeout = PATIENCE
        return parameters


def declare_topology(amqp_uri: str) -> None:
    """Declare the topology over a short connection of its own.

    Raises
    ------
    OSError
        If the broker cannot be reached, or cannot do it now: part of its cluster may be away.
    TopologyConflict
        If the broker has something else under one of our names.
    """
    try:
        with using(connect(amqp_uri, "topology")) as connection:
            topology.declare(connection)
    except CONNECTION_ERRORS + CHANNEL_ERRORS as error:
        raise OSError(str(error)) from error
