"""How does a message that was decided on in a transaction reach the broker, whatever happens?

It is a row of the same transaction. After the commit the process that wrote it publishes it at
once; if that process dies, or the broker is away, the row becomes due and any gateway process
publishes it. A row goes when the broker has confirmed its message. So a message may be sent
twice, and never gets lost: its readers know the first from the second.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from gateway.database import Database
from gateway.models import OutboxMessage, now
from skyrelay import logs, messages
from skyrelay.broker.publisher import BrokerAway, Publisher, Unroutable
from skyrelay.broker.topology import TopologyConflict
from skyrelay.messages import KillRun, Message, UnreadableMessage
from skyrelay.store import TaskStore

_log = logging.getLogger(__name__)

#: How long a row belongs to the process that wrote or claimed it. It is what a crash between
#: commit and publish costs, and should be longer than publishing usually takes.
HOLD = timedelta(seconds=2)
#: How often left rows are looked for, in seconds.
SWEEP = 1.0
#: Seconds for which rows whose messages were sent may stay, so that many go in one transaction;
#: much less than `HOLD`, after which others would send them again.
_SENT_STAY = 0.25
#: Rows that go at once, however young they are.
_MOST_SENT = 200
#: A message that no queue takes is tried again after this time, so that the alarm is repeated.
UNROUTABLE_PAUSE = timedelta(seconds=5)
#: A row that this process cannot read is looked at again after this time: one of another version
#: may have sent it by then, and the others go meanwhile.
UNREADABLE_PAUSE = timedelta(seconds=10)
#: A kill whose run cannot be marked as cancelled is sent, and again after this time: without the
#: mark, a message of the run that still waits in a queue would begin it.
UNMARKED_PAUSE = timedelta(seconds=5)
#: Rows claimed at once.
_BATCH = 200
#: Seconds for which one thread of the process may keep the others waiting: what one has decided is
#: published at once, and not when that thread has nothing else to do.
_SWITCH_INTERVAL = 0.0005
#: Messages that wait in memory, at most.
_MOST_FRESH = 1000
_LONGEST_PAUSE = 5.0

#: Of a session: the messages that its transaction has decided on, and their rows.
_PENDING, _WRITTEN = "outbox", "outbox rows"

_INSERT = insert(OutboxMessage).returning(OutboxMessage.id, sort_by_parameter_order=True)


class _Sent:
    """Rows whose messages the broker has; removed together, soon."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        #: When they are to be removed.
        self.due = math.inf

    def add(self, row: int) -> None:
        if not self._rows:
            self.due = time.monotonic() + _SENT_STAY
        self._rows.append(row)
        if len(self._rows) >= _MOST_SENT:
            self.due = 0.0

    def take(self) -> list[int]:
        rows, self._rows = self._rows, []
        self.due = math.inf
        return rows


class Outbox:
    """The outbox as one process uses it: rows are added anywhere, a thread publishes them."""

    def __init__(self, database: Database, store: TaskStore, amqp_uri: str, heartbeat: int) -> None:
        self._database = database
        self._store = store
        self._amqp_uri = amqp_uri
        self._heartbeat = heartbeat
        self._wake = threading.Condition()
        self._fresh: list[tuple[int, Message]] = []
        self._sent = _Sent()
        self._stopping = False
        self._thread: threading.Thread | None = None
        #: Whether the broker answered the last time.
        self.connected = False
        database.at_commit(self._write, self._hand_over)

    def add(self, session: Session, message: Message) -> None:
        """Publish ``message`` if and when the session's transaction is committed."""
        session.info.setdefault(_PENDING, []).append(message)

    def _write(self, session: Session) -> None:
        """Make rows of what the transaction has decided on, all at once."""
        pending: list[Message] = session.info.pop(_PENDING, [])
        if not pending:
            return
        mine = self._thread is not None
        due = now() + HOLD if mine else now()
        rows = [{"body": message.to_json(), "due": due} for message in pending]
        numbers = session.connection().execute(_INSERT, rows).scalars().all()
        if mine:
            session.info[_WRITTEN] = list(zip(numbers, pending, strict=True))

    def _hand_over(self, session: Session) -> None:
        written: list[tuple[int, Message]] = session.info.pop(_WRITTEN, [])
        if not written:
            return
        with self._wake:
            room = _MOST_FRESH - len(self._fresh)
            # What is too much now stays in the table, and becomes due there.
            self._fresh += written[: max(0, room)]
            self._wake.notify()

    # The publishing thread

    def start(self) -> None:
        """Begin to publish, in a thread of this process."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish what is at hand, and end; without a broker that is nothing; the table has it."""
        if self._thread is None:
            return
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout=10.0 if self.connected else 0.0)
        self._thread = None

    def _work(self) -> None:
        pause = 0.2
        while not self._stopping:
            try:
                with Publisher(self._amqp_uri, self._heartbeat) as publisher:
                    publisher.connect()
                    self.connected = True
                    pause = 0.2
                    self._publish_until_stopped(publisher)
                    return
            except (BrokerAway, TopologyConflict, SQLAlchemyError, OSError) as error:
                _log.warning("publishing pauses for %.1f s: %s", pause, error)
            except Exception:
                # This thread must not end: nothing would be sent, and nobody would know.
                _log.exception("publishing pauses for %.1f s", pause)
            self.connected = False
            self._forget_fresh()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _publish_until_stopped(self, publisher: Publisher) -> None:
        next_sweep = 0.0
        try:
            while not self._stopping or self._fresh:
                self._publish(publisher, self._next_batch(min(next_sweep, self._sent.due)))
                if time.monotonic() >= min(next_sweep, self._sent.due):
                    # Before the sweep, which would find rows that have long been sent.
                    self._remove_sent()
                if time.monotonic() >= next_sweep:
                    publisher.keep_alive()
                    # Also with nothing to publish: `connected` must not tell of long ago.
                    publisher.connect()
                    left = self._claim_left()
                    self._publish(publisher, left)
                    # Where so many were left, more are.
                    next_sweep = time.monotonic() + (SWEEP if len(left) < _BATCH else 0.0)
        finally:
            self._remove_sent()

    def _next_batch(self, until: float) -> Sequence[tuple[int, Message]]:
        """What has been decided on since the last time; waits for it, but not beyond ``until``."""
        with self._wake:
            if not self._fresh and not self._stopping:
                self._wake.wait(max(0.0, until - time.monotonic()))
            batch, self._fresh = self._fresh, []
        # A kill does not wait for commands; one for a run whose command follows is kept in mind.
        return sorted(batch, key=lambda pair: not isinstance(pair[1], KillRun))

    def _publish(self, publisher: Publisher, batch: Sequence[tuple[int, Message]]) -> None:
        ours_until = time.monotonic() + HOLD.total_seconds()
        for row, message in batch:
            if time.monotonic() > ours_until:
                return  # The broker kept us waiting, and others have sent the rest meanwhile.
            is_marked = not isinstance(message, KillRun) or self._mark(message)
            try:
                publisher.publish(message)
                if is_marked:
                    self._sent.add(row)
                else:
                    self._put_off([row], UNMARKED_PAUSE)
            except Unroutable:
                with logs.about(message):
                    said = message.to_json()
                    _log.error("NO QUEUE takes %s; it is kept and tried again", said)
                self._put_off([row], UNROUTABLE_PAUSE)

    def _mark(self, kill: KillRun) -> bool:
        """Mark the run as cancelled, once more; whether that could be done.

        The mark is not synced: a power failure may take it, and leave the row of the kill.
        """
        try:
            self._store.cancel_run(kill.task, kill.run)
        except OSError as error:
            with logs.about(kill):
                _log.error("the run cannot be marked as cancelled; tried again: %s", error)
            return False
        return True

    def _remove_sent(self) -> None:
        if rows := self._sent.take():
            with self._database.writing() as session:
                session.execute(delete(OutboxMessage).where(OutboxMessage.id.in_(rows)))

    def _put_off(self, rows: Sequence[int], pause: timedelta) -> None:
        with self._database.writing() as session:
            session.execute(
                update(OutboxMessage).where(OutboxMessage.id.in_(rows)).values(due=now() + pause)
            )

    def _claim_left(self) -> list[tuple[int, Message]]:
        due = (
            select(OutboxMessage.id)
            .where(OutboxMessage.due <= now())
            .order_by(OutboxMessage.due, OutboxMessage.id)
        )
        with self._database.reading() as session:
            if session.scalar(due.limit(1)) is None:
                return []
        free = due.limit(_BATCH).with_for_update(skip_locked=True)
        with self._database.writing() as session:
            claimed = session.execute(
                update(OutboxMessage)
                .where(OutboxMessage.id.in_(free))
                .values(due=now() + HOLD)
                .returning(OutboxMessage.id, OutboxMessage.body)
            ).all()
        left = [pair for row, body in sorted(claimed) for pair in _readable(row, body)]
        if unreadable := {row for row, _ in claimed} - {row for row, _ in left}:
            self._put_off(sorted(unreadable), UNREADABLE_PAUSE)
        return left

    def _forget_fresh(self) -> None:
        """Leave everything to the table: what cannot be sent now must not fill the memory."""
        with self._wake:
            self._fresh = []


def _readable(row: int, body: str) -> list[tuple[int, Message]]:
    try:
        return [(row, messages.parse(body))]
    except UnreadableMessage:
        with logs.about(messages.place_in(body)):
            _log.error("outbox row %d is of another version and stays where it is: %s", row, body)
        return []
