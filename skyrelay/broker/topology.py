"""Which exchanges and queues are there, and where does a message go?

Declared by whoever comes first, gateway or replica; declaring again changes nothing. What keeps
messages safe is here and nowhere else: quorum queues, a delivery limit, dead-lettering that
waits for the target's confirmation, an explicit consumer time-out.

::

    RunStage --> skyrelay.work --> work.<service>, work.<service>.large --> a replica
                      ^                        |
         retry.<s> ---+ (when its time is up)  | rejected, or delivered too often
             ^                                 v
    skyrelay.retry.<s>                   skyrelay.dead --> gateway.dead

    StageStarted, StageFinished --> skyrelay.events --> gateway.events
    StageProgressed             --> skyrelay.events --> gateway.progress
    KillRun                     --> skyrelay.kills  --> one queue for each living replica
    candidates                  --> skyrelay.candidates --> whatever others have bound to it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Connection, Exchange, Queue, binding

from skyrelay.messages import KillRun, Lane, Message, RunStage, StageProgressed
from skyrelay.settings import get_settings
from skyrelay.stages import SERVICES, stages_of_service
from skyrelay.time_limits import CONSUMER_TIMEOUT_MS

WORK = Exchange("skyrelay.work", type="direct", durable=True)
EVENTS = Exchange("skyrelay.events", type="topic", durable=True)
KILLS = Exchange("skyrelay.kills", type="fanout", durable=True)
DEAD = Exchange("skyrelay.dead", type="fanout", durable=True)
#: For consumers outside, who bind queues of their own; see docs/push.md.
CANDIDATES = Exchange("skyrelay.candidates", type="topic", durable=True)

LASTING = (WORK, EVENTS, KILLS, DEAD, CANDIDATES)

#: Before service and lane, in the names of the queues in which commands wait.
WORK_QUEUE_PREFIX = "work."

#: The queue in which the beginnings and ends of attempts wait for the gateway.
GATEWAY_EVENTS = "gateway.events"

#: Deliveries after the first. Every loss of the replica or of its connection costs one, so it must
#: not be too small; a message that kills its replica each time costs this many replicas.
DELIVERY_LIMIT = 6

#: An event does not kill its consumer, but a machine may restart often during a bad night.
EVENT_DELIVERY_LIMIT = 20

#: Heartbeats sent per interval. The library counts its own heartbeat as traffic and so leaves out
#: every second look, of which there is one a second: at 2, its default, short intervals are missed.
HEARTBEAT_RATE = 4

#: Progress is worth something for as long as somebody watches.
PROGRESS_TTL_MS = 60_000
PROGRESS_MAX_LENGTH = 10_000

#: Seconds between looks at a broker that has something else under one of our names.
CONFLICT_PAUSE = 10.0

#: Header of a dead message that says, in a sentence, why it was put aside.
REASON_HEADER = "skyrelay-reason"

#: Routing key under which an event that the gateway cannot digest is put aside.
DEAD_EVENT = "events"


class TopologyConflict(Exception):
    """The broker has a queue or exchange of our name that was declared differently."""


@dataclass(frozen=True)
class Route:
    """Where a message goes.

    ``mandatory``: it is an alarm if no queue takes the message. ``persistent``: the message
    survives a restart of the broker.
    """

    exchange: str
    routing_key: str
    mandatory: bool
    persistent: bool


def route_of(message: Message) -> Route:
    """Where ``message`` goes."""
    if isinstance(message, RunStage):
        return Route(WORK.name, _work_key(message), mandatory=True, persistent=True)
    if isinstance(message, KillRun):
        # Where no replica lives nothing runs, and the run's mark in the store does the rest.
        return Route(KILLS.name, "", mandatory=False, persistent=False)
    lasting = not isinstance(message, StageProgressed)
    key = f"{message.step}.{message.kind}"
    return Route(EVENTS.name, key, mandatory=lasting, persistent=lasting)


def retry_route(message: RunStage, delay: float) -> Route:
    """Where ``message`` waits for ``delay`` seconds, one of the retry delays, before it is due."""
    return Route(retry_exchange(delay).name, _work_key(message), mandatory=True, persistent=True)


def dead_route(step: str) -> Route:
    """Where a message that was meant for ``step`` is put aside."""
    return Route(DEAD.name, step, mandatory=True, persistent=True)


def candidate_route(form: str, step: str, band: str) -> Route:
    """Where a candidate that ``step`` has found in the filter ``band`` is announced.

    ``form``: json or avro. Nobody need listen.
    """
    words = (form, step, "".join(each if each.isalnum() else "_" for each in band) or "none")
    return Route(CANDIDATES.name, ".".join(words), mandatory=False, persistent=True)


def _work_key(message: RunStage) -> str:
    return in_lane(message.step, message.lane)


def in_lane(name: str, lane: Lane) -> str:
    """The name of a service, or a step, with the lane in which its commands travel."""
    return name if lane is Lane.NORMAL else f"{name}.{lane}"


def work_queue(service: str, lane: Lane = Lane.NORMAL) -> Queue:
    """The queue from which the replicas of a service that serve this lane take their work.

    One for all stages of the service: with one each, a replica that is busy with one stage would
    hoard commands for the others.
    """
    return Queue(
        f"{WORK_QUEUE_PREFIX}{in_lane(service, lane)}",
        bindings=[binding(WORK, in_lane(stage.step, lane)) for stage in stages_of_service(service)],
        queue_arguments=_quorum(DELIVERY_LIMIT, dead_letter_to=DEAD),
    )


def retry_exchange(delay: float) -> Exchange:
    """The exchange for messages that are to wait ``delay`` seconds."""
    return Exchange(f"skyrelay.retry.{delay:g}", type="fanout", durable=True)


def retry_queue(delay: float) -> Queue:
    """The queue in which messages of all stages wait ``delay`` seconds.

    Nobody consumes it. An expired message goes back to the work exchange under the routing key
    with which it came: its step.
    """
    arguments = _quorum(None, dead_letter_to=WORK) | {"x-message-ttl": round(delay * 1000)}
    return Queue(f"retry.{delay:g}", retry_exchange(delay), queue_arguments=arguments)


def gateway_events() -> Queue:
    """The queue with the beginnings and ends of all attempts."""
    return Queue(
        GATEWAY_EVENTS,
        bindings=[binding(EVENTS, f"*.{kind}") for kind in ("StageStarted", "StageFinished")],
        queue_arguments=_quorum(EVENT_DELIVERY_LIMIT, dead_letter_to=DEAD, key=DEAD_EVENT),
    )


def gateway_progress() -> Queue:
    """The queue with news that may be lost: how far the running attempts are.

    Replicated, although nobody would miss its messages: a transient queue that outlives its
    connection is deprecated, and most builds of RabbitMQ 4.3 refuse it; a classic one that is
    durable cannot be declared while its node is down.
    """
    arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": PROGRESS_TTL_MS,
        "x-max-length": PROGRESS_MAX_LENGTH,
        "x-overflow": "drop-head",
    }
    return Queue(
        "gateway.progress", EVENTS, routing_key="*.StageProgressed", queue_arguments=arguments
    )


def gateway_dead() -> Queue:
    """The dead-letter queue: whatever was put aside, until the gateway has it in its database."""
    return Queue(
        "gateway.dead",
        DEAD,
        queue_arguments={"x-queue-type": "quorum", "x-consumer-timeout": CONSUMER_TIMEOUT_MS},
    )


def kill_queue() -> Queue:
    """A queue of one replica, gone with its connection, with all kills from now on."""
    return Queue("", KILLS, exclusive=True, auto_delete=True, durable=False)


def queues(retry_delays: Sequence[float]) -> list[Queue]:
    """All lasting queues."""
    work = [work_queue(service, lane) for service in SERVICES for lane in Lane]
    waiting = [retry_queue(delay) for delay in sorted(set(retry_delays))]
    gateway = [gateway_events(), gateway_progress(), gateway_dead()]
    return [*work, *waiting, *gateway]


def exchanges(retry_delays: Sequence[float]) -> list[Exchange]:
    """All exchanges."""
    return [*LASTING, *(retry_exchange(delay) for delay in sorted(set(retry_delays)))]


def declare(connection: Connection) -> None:
    """Make sure that all exchanges, queues and bindings are there.

    Raises
    ------
    TopologyConflict
        If one of them is there with other properties, or is missing and we may not make it: says
        which, and what to do.
    """
    if not get_settings().skyrelay_declare_topology:
        _look(connection)
        return
    with connection.channel() as channel:
        try:
            for exchange in LASTING:
                exchange(channel).declare()
            for queue in queues(get_settings().skyrelay_retry_delays):
                queue(channel).declare()
        except PreconditionFailed as error:
            raise TopologyConflict(
                f"The broker has this queue or exchange with other properties ({error.message}). "
                "Was it made by another version of Skyrelay? Let its messages run out and delete "
                "it, or use another virtual host in AMQP_URI."
            ) from error


def _look(connection: Connection) -> None:
    """Raise `TopologyConflict` where a queue is missing."""
    with connection.channel() as channel:
        for queue in queues(get_settings().skyrelay_retry_delays):
            try:
                channel.queue_declare(queue.name, passive=True)
            except NotFound as error:
                raise TopologyConflict(
                    f"The broker has no queue {queue.name}, and we may not make it "
                    "(SKYRELAY_DECLARE_TOPOLOGY): start the gateway, which makes all."
                ) from error


def reason_of(headers: Mapping[str, Any] | None) -> str:
    """Why a dead message was put aside, in a sentence."""
    headers = headers or {}
    if REASON_HEADER in headers:
        return str(headers[REASON_HEADER])
    deaths = headers.get("x-death") or [{}]
    if deaths[0].get("reason") == "delivery_limit":
        if deaths[0].get("queue") == GATEWAY_EVENTS:
            return (
                f"The gateway was lost {EVENT_DELIVERY_LIMIT + 1} times before it had recorded it."
            )
        return f"The worker died {DELIVERY_LIMIT + 1} times while working on it."
    return "The message was rejected."


def _quorum(
    delivery_limit: int | None, *, dead_letter_to: Exchange, key: str | None = None
) -> dict[str, Any]:
    """Arguments of a replicated queue that loses nothing on the way to its dead-letter exchange."""
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": dead_letter_to.name,
        "x-dead-letter-strategy": "at-least-once",
        # The strategy above demands it; without a maximal length nothing is ever rejected.
        "x-overflow": "reject-publish",
        # Brokers before 3.12 do not know it and need `consumer_timeout` in their configuration.
        "x-consumer-timeout": CONSUMER_TIMEOUT_MS,
    }
    if key is not None:
        arguments["x-dead-letter-routing-key"] = key
    if delivery_limit is not None:
        arguments["x-delivery-limit"] = delivery_limit
    return arguments
