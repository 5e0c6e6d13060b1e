"""How does the database get the tables that this version needs?

Any number of processes may ask for it at once: one does it, the others wait and find it done.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from gateway.database import Database
from skyrelay.store import files

#: Names the advisory lock of PostgreSQL; any number that nobody else uses.
_LOCK = 7_305_214_118


def migrate(database: Database) -> None:
    """Bring the tables to the newest form, in one transaction."""
    if database.is_sqlite and database.url.database:
        _let_readers_pass_writers(database, Path(database.url.database))
    with database.write_engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _let_readers_pass_writers(database: Database, path: Path) -> None:
    """Switch a new SQLite file to its write-ahead log, for ever.

    SQLite does not queue those who want to do this at the same time; it refuses all but one.
    """
    with files.locked(path.with_name(f"{path.name}.lock")):
        connection = database.engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
