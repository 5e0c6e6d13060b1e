"""By which indexes does the database find what a statement asks for?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event


@contextmanager
def plans(of: str) -> Iterator[list[str]]:
    """The plans of the statements with this text that are sent meanwhile.

    PostgreSQL reads a table from its beginning where it is as short as a test's. For these
    statements it is kept from that, and takes an index if there is one.
    """
    found: list[str] = []

    def explain(connection: Connection, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if of not in statement:
            return
        if connection.dialect.name == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        else:
            cursor.execute("SET enable_seqscan = off")
            cursor.execute(f"EXPLAIN {statement}", values)
        found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
        if connection.dialect.name != "sqlite":
            cursor.execute("RESET enable_seqscan")

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
