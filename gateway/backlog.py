"""How much is waiting, and where: figures that are looked up when Prometheus asks for them?

They are the same whichever process of the events tells them: of several, take the largest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import (
    IS_OPEN,
    IS_OUT,
    IS_READY,
    IS_WAITING,
    DeadLetter,
    Duty,
    FollowUp,
    Intake,
    IntakeFile,
    OutboxMessage,
    Run,
    StageAttempt,
)
from gateway.models import now as present
from skyrelay import exposition
from skyrelay.broker import topology
from skyrelay.broker.connection import CHANNEL_ERRORS, CONNECTION_ERRORS, connect, using
from skyrelay.broker.lengths import lengths
from skyrelay.question import Question

_log = logging.getLogger(__name__)

#: Seconds for which one look waits for all parts together. Prometheus gives up after 10, and would
#: say of this process that it is down.
PATIENCE = 5.0

#: What is raised by a database, a store or a broker that cannot tell now.
_AWAY: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
_AWAY += CONNECTION_ERRORS + CHANNEL_ERRORS


def watch(gateway: Gateway) -> None:
    """Tell Prometheus from now on, with whatever else this process tells."""
    exposition.look_up(Backlog(gateway))


class Backlog(Collector):
    """What waits in the database and in the broker, and what room is left in the store."""

    def __init__(self, gateway: Gateway, patience: float = PATIENCE) -> None:
        self._gateway = gateway
        self._patience = patience
        self._parts: dict[str, Callable[[], list[Metric]]] = {
            "database": self._database,
            "broker": self._broker,
            "store": self._store,
        }
        self._looks: dict[str, Question[list[Metric]]] = {}
        self._choosing = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: to register must not mean to ask."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Look everything up; what cannot be had now is left out, and said to be."""
        end = time.monotonic() + self._patience
        readable = GaugeMetricFamily(
            "skyrelay_backlog_readable",
            "Whether the figures from there could be had now",
            labels=["part"],
        )
        for name, look in self._begin().items():
            try:
                yield from look.answer(end - time.monotonic())
            except _AWAY as error:
                _log.warning("no figures of the %s: %s", name, error)
                readable.add_metric([name], 0)
            else:
                readable.add_metric([name], 1)
        yield readable

    def _begin(self) -> dict[str, Question[list[Metric]]]:
        """A look at every part; where the last one is not over, that one: they must not pile up.

        S3 is asked again and again for half a minute, the name of a broker may be looked for as
        long, and a network's file system may stand still.
        """
        with self._choosing:
            for name, ask in self._parts.items():
                if name not in self._looks or not self._looks[name].is_alive():
                    self._looks[name] = Question(f"look at the {name}", ask)
            return dict(self._looks)

    def _database(self) -> list[Metric]:
        with self._gateway.database.reading() as session:
            return [
                _gauge(
                    "skyrelay_open_runs", "Runs that are not over", _count(session, Run, IS_OPEN)
                ),
                *_by_queue(session),
                _gauge("skyrelay_database_bytes", "Size of the database", _size(session)),
                *_of_outbox(session),
                *_of_follow_ups(session),
                *_of_intake(session),
                _gauge(
                    "skyrelay_dead_letters_waiting",
                    "Messages put aside that nobody has dealt with",
                    _count(session, DeadLetter, DeadLetter.handled == ""),
                ),
            ]

    def _broker(self) -> list[Metric]:
        settings = self._gateway.settings
        names = [queue.name for queue in topology.queues(settings.skyrelay_retry_delays)]
        with using(connect(settings.amqp_uri, "figures")) as connection:
            found = lengths(connection, names)
        messages = GaugeMetricFamily(
            "skyrelay_queue_messages", "Messages that nobody has taken", labels=["queue"]
        )
        consumers = GaugeMetricFamily(
            "skyrelay_queue_consumers", "Consumers of a queue", labels=["queue"]
        )
        for name, length in found.items():
            messages.add_metric([name], length.messages)
            consumers.add_metric([name], length.consumers)
        return [messages, consumers]

    def _store(self) -> list[Metric]:
        room = self._gateway.store.room()
        if room is None:
            return []
        free, size = room
        return [
            _gauge("skyrelay_store_free_bytes", "Room for tasks' files", free),
            _gauge("skyrelay_store_size_bytes", "Size of the file system of the tasks", size),
        ]


def _by_queue(session: Session) -> list[Metric]:
    """Attempts by where they wait; partial indexes make it cheap, however many are over."""
    waiting = GaugeMetricFamily(
        "skyrelay_attempts_waiting", "Attempts held back in the database", labels=["queue"]
    )
    out = GaugeMetricFamily(
        "skyrelay_attempts_out",
        "Attempts whose command the broker or a replica has",
        labels=["queue", "state"],
    )
    oldest = GaugeMetricFamily(
        "skyrelay_oldest_waiting_seconds",
        "Since when the attempt has been waiting that was not begun for the longest time",
        labels=["queue"],
    )
    since: dict[str, datetime] = {}
    by_queue = select(StageAttempt.queue, func.count(), func.min(StageAttempt.queued))
    for queue, count, first in session.execute(
        by_queue.where(IS_WAITING).group_by(StageAttempt.queue)
    ):
        waiting.add_metric([queue], count)
        since[queue] = first
    by_state = select(
        StageAttempt.queue, StageAttempt.state, func.count(), func.min(StageAttempt.queued)
    )
    for queue, state, count, first in session.execute(
        by_state.where(IS_OUT).group_by(StageAttempt.queue, StageAttempt.state)
    ):
        out.add_metric([queue, state], count)
        if state == "queued":
            since[queue] = min(first, since.get(queue, first))
    for queue, first in since.items():
        oldest.add_metric([queue], (present() - first).total_seconds())
    return [waiting, out, oldest]


def _of_outbox(session: Session) -> Sequence[Metric]:
    count, first = session.execute(
        select(func.count(OutboxMessage.id), func.min(OutboxMessage.created))
    ).one()
    lag = (present() - first).total_seconds() if first else 0.0
    return (
        _gauge("skyrelay_outbox_messages", "Messages that are still to be sent", count),
        _gauge("skyrelay_outbox_lag_seconds", "Age of the oldest of them", lag),
    )


def _of_follow_ups(session: Session) -> Sequence[Metric]:
    waiting = GaugeMetricFamily(
        "skyrelay_follow_ups_waiting", "Duties that are still to be done", labels=["duty"]
    )
    oldest = GaugeMetricFamily(
        "skyrelay_follow_ups_oldest_seconds", "Age of the oldest of them", labels=["duty"]
    )
    by_duty = select(FollowUp.duty, func.count(), func.min(FollowUp.created))
    rows = session.execute(by_duty.group_by(FollowUp.duty))
    found = {duty: (count, first) for duty, count, first in rows}
    for duty in Duty:
        count, first = found.get(duty, (0, present()))
        waiting.add_metric([duty], count)
        oldest.add_metric([duty], (present() - first).total_seconds())
    return waiting, oldest


def _of_intake(session: Session) -> Sequence[Metric]:
    active = select(func.count(), func.min(IntakeFile.seen)).join(Intake)
    count, first = session.execute(active.where(IS_READY, Intake.active)).one()
    age = (present() - first).total_seconds() if first else 0.0
    return (
        _gauge("skyrelay_intake_waiting", "Files that are to become tasks", count),
        _gauge("skyrelay_intake_oldest_seconds", "Since when the oldest of them waits", age),
    )


def _size(session: Session) -> int:
    if session.get_bind().dialect.name == "sqlite":
        pages = session.scalar(text("PRAGMA page_count")), session.scalar(text("PRAGMA page_size"))
        return int(pages[0] or 0) * int(pages[1] or 0)
    return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _count(session: Session, model: type, condition: object) -> int:
    query = select(func.count()).select_from(model).where(condition)  # type: ignore[arg-type]
    return session.scalar(query) or 0


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
