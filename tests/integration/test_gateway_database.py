"""Are the gateway's tables what its models say, and what happens while the database is away?"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from gateway.database import Database
from gateway.migrate import migrate
from gateway.models import Base, Run
from gateway.orchestration.advance import record
from skyrelay.errors import Retriable
from tests.support.gateway import Bench, opened
from tests.support.postgres import cluster


def test_the_migrations_make_the_tables_of_the_models(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    with database.engine.connect() as connection:
        # Words, and changes of lists, are found by each database in a way of its own.
        def is_here(item: Any, *_: Any) -> bool:
            own = re.search("_words|_changes_writer", str(item.name))
            return not (database.is_sqlite and own)

        opts = {"compare_type": True, "include_object": is_here}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []
        indexes = inspect(connection).get_indexes("runs")
    assert any(index["name"] == "uq_runs_open_task_id" and index["unique"] for index in indexes)
    database.close()


def test_many_may_migrate_at_once(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(6)]
    errors: list[BaseException] = []

    def bring(database: Database) -> None:
        try:
            migrate(database)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=bring, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with databases[0].reading() as session:
        assert session.query(Run).count() == 0
    for database in databases:
        database.close()


def test_the_database_itself_refuses_a_second_open_run(tmp_path: Path, database_url: str) -> None:
    with opened(tmp_path, database_url) as gateway:
        alice = Bench(gateway).caller("alice")
        task = alice.new_task()
        assert alice.post(f"tasks/{task}/process/", json={"steps": ["inspect"]}).status_code == 200
        with pytest.raises(IntegrityError), gateway.database.writing() as session:
            session.add(Run(id="second", task_id=task, steps=["inspect"]))


def test_a_database_that_is_away_delays_and_loses_nothing(tmp_path: Path) -> None:
    with cluster() as postgres, opened(tmp_path, postgres.url()) as gateway:
        bench = Bench(gateway)
        alice = bench.caller("alice")
        task = alice.new_task()
        alice.post(f"tasks/{task}/process/", json={"steps": ["inspect"]})
        finished = bench.finished(bench.command())
        postgres.stop()
        away = alice.get(f"tasks/{task}/state/")
        assert away.status_code == 503
        assert away.headers["Retry-After"]
        assert alice.http.get("/readyz").status_code == 503
        assert alice.http.get("/healthz").status_code == 200
        with pytest.raises(Retriable):
            record(gateway, [finished])
        postgres.start()
        record(gateway, [finished])
        assert alice.get(f"tasks/{task}/state/").json["state"] == "inspect_done"
