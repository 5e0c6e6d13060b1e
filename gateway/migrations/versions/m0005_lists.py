"""Lists of tasks that are quick at any depth: what changes them is known, words are indexed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Changes by which a task enters a list, leaves it, or is found by other words.
_CHANGES = (
    ("tasks", "INSERT"),
    ("tasks", "DELETE"),
    ("tasks", "UPDATE OF original_name, title, user_id"),
    ("task_groups", "INSERT"),
    ("task_groups", "DELETE"),
    ("user_groups", "INSERT"),
    ("user_groups", "DELETE"),
    ("users", "UPDATE OF username, first_name, last_name"),
    ("groups", "UPDATE OF name"),
)
_WORDS = ("original_name", "title")


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "list_changes",
        # What the trigger gives it: an id that SQLite counts, PostgreSQL's transaction.
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "moment",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.current_timestamp(),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_changes")),
        sqlite_autoincrement=True,
    )
    if on_sqlite:
        _watch_sqlite()
    else:
        _watch_postgresql()
        # Trusted: the owner of the database may create it.
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        for name in _WORDS:
            op.create_index(
                f"ix_tasks_{name}_words",
                "tasks",
                [name],
                postgresql_using="gin",
                postgresql_ops={name: "gin_trgm_ops"},
            )


def _watch_sqlite() -> None:
    for table, change in _CHANGES:
        op.execute(
            f"CREATE TRIGGER list_changes_{table}_{change.split()[0].lower()} AFTER {change} "
            f"ON {table} BEGIN INSERT INTO list_changes (moment) VALUES (current_timestamp); END"
        )


def _watch_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION note_list_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO list_changes (id) VALUES (pg_current_xact_id()::text::bigint) "
        "ON CONFLICT DO NOTHING; RETURN NULL; END $$"
    )
    for table, change in _CHANGES:
        op.execute(
            f"CREATE TRIGGER list_changes_{table}_{change.split()[0].lower()} AFTER {change} "
            f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION note_list_change()"
        )


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
