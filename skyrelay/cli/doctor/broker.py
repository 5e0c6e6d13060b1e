"""Does the broker have all that we need of it, as we need it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from amqp.exceptions import Blocked
from kombu import Connection

from skyrelay.broker import topology
from skyrelay.broker.connection import (
    ANSWER_PATIENCE,
    CHANNEL_ERRORS,
    CONNECTION_ERRORS,
    connect,
    drop,
    using,
)
from skyrelay.broker.lengths import Length, lengths
from skyrelay.cli.doctor.finding import Finding, Health
from skyrelay.messages import Lane
from skyrelay.settings import Settings
from skyrelay.stages import SERVICES
from skyrelay.time_limits import CONSUMER_TIMEOUT_MS

#: From which version on a queue brings its own time-out for consumers.
_QUEUES_HAVE_TIMEOUTS = (3, 12)
#: A routing key of the exchange for work under which no queue is bound.
_NOWHERE = "skyrelay.doctor"


def broker(settings: Settings) -> Iterator[Finding]:
    """The connection, exchanges, queues with their arguments, who takes from them, alarms."""
    try:
        with using(connect(settings.amqp_uri, "doctor", confirms=True)) as connection:
            version = str(connection.connection.server_properties.get("version", "?"))
            yield Finding(Health.GOOD, "broker", f"RabbitMQ {version}")
            yield from _topology(connection, settings)
            yield _timeout(version)
            yield _alarms(connection)
    except CONNECTION_ERRORS as error:
        yield Finding(Health.BAD, "broker", f"it does not answer ({error}); look at AMQP_URI")


def _topology(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Exchanges, queues, bindings.

    Nothing is made that is missing, but bindings: those nobody can ask for without a right to the
    management.
    """
    exchanges = topology.exchanges(settings.skyrelay_retry_delays)
    names = [queue.name for queue in topology.queues(settings.skyrelay_retry_delays)]
    try:
        for exchange in exchanges:
            with connection.channel() as channel:
                exchange(channel).declare(passive=True)
        found = lengths(connection, names)
    except CHANNEL_ERRORS as error:
        said = f"{error}; start the gateway, which makes exchanges and queues"
        yield Finding(Health.BAD, "queues", said)
        return
    if settings.skyrelay_declare_topology:
        try:
            topology.declare(connection)
        except topology.TopologyConflict as error:
            yield Finding(Health.BAD, "queues", str(error))
            return
        except CHANNEL_ERRORS as error:
            said = (
                f"this user of the broker may not declare them ({error}); "
                "set SKYRELAY_DECLARE_TOPOLOGY=false for a stage, or see `skyrelay broker-rights`"
            )
            yield Finding(Health.BAD, "bindings", said)
        else:
            yield Finding(Health.GOOD, "bindings", "exchanges, arguments and bindings are ours")
    else:
        said = "arguments and bindings are not to be seen from here; ask beside the gateway"
        yield Finding(Health.NOTE, "bindings", said)
    yield from _work(found)
    if not found[topology.gateway_events().name].consumers:
        said = "nobody hears the stages: start `python -m gateway events`"
        yield Finding(Health.BAD, "queues", said)
    else:
        yield Finding(Health.GOOD, "queues", f"all {len(names)} are there")


def _work(found: Mapping[str, Length]) -> Iterator[Finding]:
    """Commands that nobody takes, and services for which nobody works."""
    idle = []
    for service in SERVICES:
        for lane in Lane:
            queue = topology.work_queue(service, lane).name
            if found[queue].consumers:
                continue
            if waiting := found[queue].messages:
                said = f"{waiting} wait and nobody takes them; unless one is starting, start a "
                said += f"replica of {service} with SKYRELAY_LANE={lane}"
                yield Finding(Health.BAD, queue, said)
            elif lane is Lane.NORMAL:
                idle.append(service)
    if idle:
        said = f"nobody works for {', '.join(idle)}; fine if they are scaled to zero"
        yield Finding(Health.NOTE, "queues", said)


def _alarms(connection: Connection) -> Finding:
    """Whether the broker takes what is published, although nobody gets this message."""
    connection.connection.on_blocked = _blocked
    try:
        connection.Producer().publish(
            b"",
            exchange=topology.WORK.name,
            routing_key=_NOWHERE,
            retry=False,
            timeout=ANSWER_PATIENCE,
            confirm_timeout=ANSWER_PATIENCE,
        )
    except Blocked:
        # It does not read what we say any more, not even a farewell.
        drop(connection)
        said = "it is short of memory or disk, and nobody can publish; see `rabbitmqctl status`"
        return Finding(Health.BAD, "alarms", said)
    except CHANNEL_ERRORS as error:
        return Finding(Health.NOTE, "alarms", f"not to be seen from here ({error})")
    return Finding(Health.GOOD, "alarms", "what is published is taken")


def _blocked(reason: str) -> None:
    raise Blocked(reason)


def _timeout(version: str) -> Finding:
    """Whether long stages keep their messages."""
    parts = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if tuple(parts) >= _QUEUES_HAVE_TIMEOUTS:
        return Finding(Health.GOOD, "consumer_timeout", "a day, by the queues' own argument")
    said = (
        "this version reads it from its configuration only: see that it says "
        f"consumer_timeout = {CONSUMER_TIMEOUT_MS}, or long stages are done anew"
    )
    return Finding(Health.NOTE, "consumer_timeout", said)
