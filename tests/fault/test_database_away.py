"""What does it cost when the gateway's database goes, or somebody else keeps it locked?

A whole installation, two of each process, with chains that begin all the time. The invariant:
*every accepted run reaches exactly one terminal state, its products are those of exactly one
attempt, nothing runs after its end, nothing remains on disk or in the process table.*
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.postgres import Cluster
from tests.support.processes import wait_until
from tests.support.report import Report
from tests.support.servers import TRIAL, installation
from tests.support.traffic import traffic

#: Seconds without the database, and with one that is locked.
AWAY, LOCKED = 3.0, 5.0

pytestmark = pytest.mark.usefixtures("repetition")


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """A database of the test's own, without any table."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)


def test_a_postgresql_that_is_restarted_or_killed_delays_and_loses_nothing(
    tmp_path: Path, amqp_uri: str, postgres: Cluster, postgres_url: str, report: Report
) -> None:
    with (
        installation(tmp_path, postgres_url, amqp_uri, **TRIAL) as place,
        traffic(place, amqp_uri) as flow,
    ):
        for stop in (Cluster.shut_down, Cluster.stop):
            stop(postgres)
            time.sleep(AWAY)
            postgres.start()
            how = "killed" if stop is Cluster.stop else "shut down"
            with report.time(f"PostgreSQL up again ({how} for {AWAY:.0f} s) to a chain's end"):
                flow.wait_for_progress()


@pytest.mark.parametrize("patience", [1, 30])
def test_a_sqlite_that_somebody_else_locks_delays_and_loses_nothing(
    tmp_path: Path, amqp_uri: str, report: Report, patience: int
) -> None:
    """Whether all can wait for so long, or have to be refused, and to try again."""
    path = tmp_path / "gateway.db"
    url = f"sqlite:///{path}?timeout={patience}"
    with (
        installation(tmp_path, url, amqp_uri, **TRIAL) as place,
        traffic(place, amqp_uri) as flow,
    ):
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED)
            if patience < LOCKED:
                assert wait_until(lambda: "database is locked" in flow.fleet.logs())
            else:
                assert "database is locked" not in (said := flow.fleet.logs()), said
            other.execute("ROLLBACK")
        with report.time(f"SQLite unlocked (after {LOCKED:.0f} s) to a chain's end"):
            flow.wait_for_progress()
