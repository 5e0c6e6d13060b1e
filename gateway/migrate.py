"""How does the database get the tables that this version needs?

Any number of processes may ask for it at once: one does it, the others wait and find it done.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from gateway.database import Database
from skyrelay.store import files

_MIGRATIONS = Path(__file__).parent / "migrations"
#: Names the advisory lock of PostgreSQL; any number that nobody else uses.
_LOCK = 7_305_214_118


def migrate(database: Database, to: str = "head") -> None:
    """Bring the tables to the newest form, or that of an earlier migration, in one transaction."""
    if is_newest(database):
        return
    from alembic import command  # It takes long to import, and is hardly ever needed.
    from alembic.config import Config

    if database.is_sqlite and database.url.database:
        _let_readers_pass_writers(database, Path(database.url.database))
    with database.write_engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def revisions() -> list[str]:
    """All forms that the tables ever had, the newest last; m0001_... makes revision 0001."""
    return sorted(path.name[1:5] for path in (_MIGRATIONS / "versions").glob("m*.py"))


def is_newest(database: Database) -> bool:
    """Whether the tables have the form of the last migration."""
    return revision_of(database) == revisions()[-1]


def revision_of(database: Database) -> str | None:
    """Which migration has made the tables last; None if there are none."""
    try:
        with database.engine.connect() as connection:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DatabaseError:
        return None


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
