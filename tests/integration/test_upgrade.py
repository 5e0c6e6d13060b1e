"""Does an upgrade keep all data, whatever version it comes from, and is there a way back?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    String,
    inspect,
    select,
)

from gateway.database import Database
from gateway.migrate import is_newest, migrate, revision_of, revisions
from gateway.models import Base
from tests.support.backups import dump, restore

#: Rows of each table.
ROWS = (1, 2)
#: Where not every value will do: what is over is not touched by any migration.
FIXED = {"state": "done", "celery_id": None, "duty": "index"}
#: What a migration empties, since what is in it belongs to runs that it ends.
EMPTIED = {("0001", "outbox")}
#: Tables that are not written by us, or only by triggers.
DERIVED = ("alembic_version", "list_changes", "task_words")

Rows = dict[str, list[dict[str, Any]]]


@pytest.mark.parametrize("revision", revisions()[:-1])
def test_every_row_of_an_earlier_version_is_there_after_the_upgrade(
    database_url: str, revision: str
) -> None:
    database = Database(database_url)
    try:
        migrate(database, to=revision)
        _fill(database)
        before = _read(database)
        assert all(len(rows) >= len(ROWS) for rows in before.values())
        migrate(database)
        assert is_newest(database)
        after = _read(database)
        for table, rows in before.items():
            if (revision, table) in EMPTIED:
                assert after[table] == []
                continue
            kept = rows[0].keys() & after[table][0].keys()
            lost = rows[0].keys() - kept
            assert lost <= {"attempt"}, (table, lost)
            found = [{name: row[name] for name in kept} for row in after[table]]
            for row in rows:
                assert {name: row[name] for name in kept} in found, table
        _assert_readable(database, before)
    finally:
        database.close()


def test_a_run_that_was_open_before_parts_were_known_ends_with_a_sentence(
    database_url: str,
) -> None:
    database = Database(database_url)
    try:
        migrate(database, to="0001")
        _fill(database, {"state": "open", "celery_id": str(UUID(int=1))})
        migrate(database)
        after = _read(database)
        for row in (*after["runs"], *after["tasks"]):
            assert row["state"] == "failed"
            assert "process the image again" in row["reasons"][0]
        assert all(row["celery_id"] is None for row in after["tasks"])
    finally:
        database.close()


def test_tables_and_rows_of_before_an_upgrade_come_back_from_the_backup(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str
) -> None:
    earlier = revisions()[0]
    database = Database(database_url)
    migrate(database, to=earlier)
    _fill(database)
    before, names = _read(database), _names(database)
    dump(request, database_url, tmp_path / "copy")
    migrate(database)
    assert _names(database) > names
    database.close()
    restore(request, tmp_path / "copy", database_url)
    database = Database(database_url)
    try:
        assert revision_of(database) == earlier
        assert _names(database) == names
        assert _read(database) == before
        migrate(database)
        assert is_newest(database)
    finally:
        database.close()


def _names(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


def _fill(database: Database, fixed: dict[str, Any] | None = None) -> None:
    """Put rows into every table that there is."""
    tables = _tables(database)
    with database.write_engine.begin() as connection:
        for table in tables.sorted_tables:
            for row in ROWS:
                values = {
                    column.name: _value(column, row, FIXED | (fixed or {}))
                    for column in table.columns
                }
                connection.execute(table.insert().values(values))


def _value(column: Column[Any], row: int, fixed: dict[str, Any]) -> Any:
    """What a column has in one of the rows; columns that refer to another have its key."""
    kind = column.type
    for key in column.foreign_keys:
        return _value(key.column, row, fixed)
    if column.name in fixed:
        return fixed[column.name]
    if isinstance(kind, Boolean):
        return row == 1
    if isinstance(kind, Integer):
        return row
    if isinstance(kind, Float):
        return row + 0.25
    if isinstance(kind, DateTime):
        return datetime(2026, 1, row, 12, 30, tzinfo=UTC)
    if isinstance(kind, JSON):
        return [f"{column.name} {row}"]
    if isinstance(kind, String):
        return str(UUID(int=row)) if kind.length == 36 else f"{column.name} {row}"[-_length(kind) :]
    return f"{row}".encode()


def _length(kind: String) -> int:
    return kind.length or 1000


def _read(database: Database) -> Rows:
    """All rows of all tables."""
    tables = _tables(database)
    with database.engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables.sorted_tables
        }


def _tables(database: Database) -> MetaData:
    """The tables as they are in the database now, but for those that triggers write."""
    found = MetaData()
    found.reflect(database.engine, only=lambda name, _: not name.startswith(DERIVED))
    return found


def _assert_readable(database: Database, before: Rows) -> None:
    """The models of this version can read what is in the tables."""
    with database.reading() as session:
        for mapper in Base.registry.mappers:
            table = str(mapper.local_table)
            rows = session.scalars(select(mapper.class_)).all()
            assert len(rows) >= len(before.get(table, ())) or (table == "outbox"), table
