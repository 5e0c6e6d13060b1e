"""How does the gateway reach its database, be it SQLite or PostgreSQL?

Readers and writers are told apart: on SQLite a writer takes the write lock when its transaction
begins, so that it never has to give up half-way because another writer was faster. On PostgreSQL
rows are locked where that matters, and readers need no transaction: each of their statements
sees what is committed, as it would inside of one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Error as PsycopgError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

_log = logging.getLogger(__name__)

_WRITES = "skyrelay_writes"
#: Seconds that a writer of SQLite waits for another one, unless the address says another
#: ``?timeout=``. Transactions take milliseconds.
_SQLITE_PATIENCE = 30.0
#: Connections of one process: as many as its threads, and a few for the publisher and health.
_POOL = 12
#: Seconds after which a connection is tried before it is used: to try a busy one each time would
#: cost more than what it is used for.
_IDLE = 0.5
_USED = "skyrelay_used"
#: PostgreSQL's code of an attempt to change something in a transaction that only reads.
_READ_ONLY = "25006"
#: The longest pause between two attempts to reach a database that does not answer.
_LONGEST_PAUSE = 5.0


class Database:
    """The gateway's database."""

    def __init__(self, url: str) -> None:
        self.url = _with_driver(make_url(url))
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, float] = {} if self.is_sqlite else {"connect_timeout": 5}
        if self.is_sqlite and "timeout" not in self.url.query:
            arguments = {"timeout": _SQLITE_PATIENCE}
        self.engine = create_engine(self.url, pool_size=_POOL, connect_args=arguments)
        self._read_engine = self.engine
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            # Connections of their own: to switch one back and forth costs as much as a question.
            self._read_engine = create_engine(
                self.url, pool_size=_POOL, connect_args=arguments, isolation_level="AUTOCOMMIT"
            )
            for engine in (self.engine, self._read_engine):
                event.listen(engine, "connect", _prepare_postgresql)
                event.listen(engine, "checkin", _remember_use)
                event.listen(engine, "checkout", _try_if_idle)
        for engine in {self.engine, self._read_engine}:
            event.listen(engine, "handle_error", _read_only_is_away)
        self.write_engine = self.engine.execution_options(**{_WRITES: True})
        self._readers = sessionmaker(self._read_engine, expire_on_commit=False)
        self._writers = sessionmaker(self.write_engine, expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads."""
        with self._readers() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are committed at the end, or rolled back on an exception."""
        with self._writers.begin() as session:
            yield session

    def at_commit(
        self, before: Callable[[Session], None], after: Callable[[Session], None]
    ) -> None:
        """Have these called with every session that writes, before and after its commit."""
        event.listen(self._writers, "before_commit", before)
        event.listen(self._writers, "after_commit", after)

    def answers(self) -> bool:
        """Whether the database can be used now."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError:
            return False
        return True

    def now(self) -> float:
        """The time by the clock of a PostgreSQL server, in seconds since 1970."""
        with self.engine.connect() as connection:
            question = text("SELECT extract(epoch FROM clock_timestamp())")
            return float(connection.execute(question).scalar_one())

    def wait(self, until_stopped: Callable[[], bool] = lambda: False) -> None:
        """Return when the database answers, however long that takes, or when told to stop."""
        pause = 0.2
        while not self.answers() and not until_stopped():
            if pause == 0.2:
                _log.warning("waiting for the database at %s", self.url.render_as_string())
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        self._read_engine.dispose()


def _with_driver(url: URL) -> URL:
    """The URL with the driver that we bring, where it names none."""
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _remember_use(_: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = time.monotonic()


def _try_if_idle(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """Have the pool open another connection where the server has gone since its last use."""
    if time.monotonic() - record.info.get(_USED, -math.inf) < _IDLE:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("")
        if not connection.autocommit:
            connection.rollback()
    except PsycopgError as error:
        raise DisconnectionError from error


def _read_only_is_away(context: ExceptionContext) -> None:
    """Treat a server that takes no changes now as one that is away, and its connection as lost.

    It is a primary that another one has just replaced, or one whose disk is full.
    """
    if getattr(context.original_exception, "sqlstate", None) != _READ_ONLY:
        return
    context.is_disconnect = True
    raise OperationalError(
        context.statement, None, context.original_exception
    ) from context.original_exception


def _prepare_postgresql(connection: Any, _: Any) -> None:
    # What takes the server longest here is done in less time than it takes to compile it.
    connection.execute("SET jit = off")
    connection.commit()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Transactions are begun by us, and not by the driver when it sees the first change.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # An answered request must outlive a power failure, as the broker's confirmed messages do.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
