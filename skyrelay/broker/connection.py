"""How does a process reach the broker, be it one node or a cluster, and leave it when it is mute?

A connection may die without a word: a firewall forgets it, a machine hangs. Then nothing that
waits for the broker's answer may wait for ever, not even the farewell.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import amqp
from kombu import Connection
from kombu.exceptions import OperationalError

from skyrelay.settings import get_settings

#: Seconds to wait for a new connection, and for the answer to a request on it.
CONNECT_PATIENCE, ANSWER_PATIENCE = 5.0, 10.0

#: Seconds that a broker may take to answer a farewell.
FAREWELL = 2.0

#: What is raised when the broker is away, or no longer answers.
CONNECTION_ERRORS: tuple[type[Exception], ...] = amqp.Connection.connection_errors
#: What is raised when it refuses what it was asked for.
CHANNEL_ERRORS: tuple[type[Exception], ...] = amqp.Connection.channel_errors


def addresses(amqp_uri: str) -> list[str]:
    """The addresses in ``amqp_uri``, which ``;`` separates, in random order.

    Random, so that all processes together use all nodes of a cluster, and one that is away does
    not stand before the others each time.
    """
    found = [uri.strip() for uri in amqp_uri.split(";") if uri.strip()]
    return random.SystemRandom().sample(found, len(found))


def connect(amqp_uri: str, name: str, *, heartbeat: int = 0, confirms: bool = False) -> Connection:
    """An open connection to the first of the addresses that answers.

    Parameters
    ----------
    amqp_uri : str
        One address, or several separated by ``;``.
    name : str
        What the connection is for, as an operator finds it in the broker's lists and log.
    heartbeat : int
        Seconds; 0: none. The owner calls ``heartbeat_check`` of the connection once a second.
    confirms : bool
        Whether to wait, with everything that is published, until the broker has it.

    Raises
    ------
    ConnectionError
        If no address answers.
    """
    options = {"confirm_publish": confirms, "client_properties": client_properties(name)}
    error: Exception | None = None
    for uri in addresses(amqp_uri):
        connection = Connection(
            uri,
            heartbeat=heartbeat,
            connect_timeout=CONNECT_PATIENCE,
            transport_options=options,
            ssl=_tls(uri),
        )
        try:
            connection.ensure_connection(max_retries=0)
        except (OperationalError, *CONNECTION_ERRORS, *CHANNEL_ERRORS) as failure:
            error = failure
            continue
        connection.connection.sock.settimeout(ANSWER_PATIENCE)
        return connection
    raise ConnectionError(str(error or "AMQP_URI names no broker")) from error


def trusting() -> ssl.SSLContext:
    """What a broker's certificate is held to: signed by the authority that we trust."""
    return ssl.create_default_context(cafile=get_settings().skyrelay_broker_ca)


def _tls(uri: str) -> dict[str, Any] | None:
    """How kombu is told the same; None for an address without TLS."""
    address = urlsplit(uri)
    if address.scheme != "amqps":
        return None
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": get_settings().skyrelay_broker_ca,
        "server_hostname": address.hostname,
    }


def client_properties(name: str) -> dict[str, str]:
    """What a client of this name tells the broker about itself."""
    return {"connection_name": f"skyrelay {name}"}


@contextmanager
def using(connection: Connection) -> Iterator[Connection]:
    """Give the connection back at the end; one that is lost is dropped, see `drop`."""
    try:
        yield connection
    except CONNECTION_ERRORS:
        drop(connection)
        raise
    finally:
        connection.release()


def drop(connection: Connection) -> None:
    """Forget a lost connection; to close it in the usual way would be to wait for the broker."""
    if connection.connected:
        connection.connection.collect()
    connection.release()
