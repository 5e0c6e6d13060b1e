"""Lists of tasks that follow a steady stream of changes: it is known which tasks have changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: Changes by which a task enters a list, leaves it, or is found by other words, and the number of
#: that task: 0 where it may be any number of tasks.
_CHANGES = (
    ("tasks", "INSERT", "new.id"),
    ("tasks", "DELETE", "old.id"),
    ("tasks", "UPDATE OF original_name, title, user_id", "new.id"),
    ("task_groups", "INSERT", "new.task_id"),
    ("task_groups", "DELETE", "old.task_id"),
    ("user_groups", "INSERT", "0"),
    ("user_groups", "DELETE", "0"),
    ("users", "UPDATE OF username, first_name, last_name", "0"),
    ("groups", "UPDATE OF name", "0"),
)
_OF_STATE = ("tasks", "UPDATE OF state", "new.id")


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, change, _ in _CHANGES:
        op.execute(f"DROP TRIGGER {_name(table, change)}" + ("" if on_sqlite else f" ON {table}"))
    if not on_sqlite:
        op.execute("DROP FUNCTION note_list_change")
    op.drop_table("list_changes")
    op.create_table(
        "list_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("of_state", sa.Boolean(), nullable=False),
        sa.Column("writer", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column(
            "moment",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.current_timestamp(),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_changes")),
        sqlite_autoincrement=True,
    )
    if not on_sqlite:
        op.create_index("ix_list_changes_writer", "list_changes", ["writer"])
        op.create_index(
            "ix_list_changes_writer_not_of_state",
            "list_changes",
            ["writer"],
            postgresql_where=sa.text("NOT of_state"),
        )
    for table, change, task in _CHANGES:
        _watch(_name(table, change), table, change, f"{task}, false")
    table, change, task = _OF_STATE
    _watch("list_changes_tasks_state", table, change, f"{task}, true")


def _watch(name: str, table: str, change: str, values: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        note = f"BEGIN INSERT INTO list_changes (task_id, of_state) VALUES ({values}); END"
    else:
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO list_changes (writer, task_id, of_state) "
            f"VALUES (pg_current_xact_id()::text::bigint, {values}); RETURN NULL; END $$"
        )
        note = f"FOR EACH ROW EXECUTE FUNCTION {name}()"
    op.execute(f"CREATE TRIGGER {name} AFTER {change} ON {table} {note}")


def _name(table: str, change: str) -> str:
    return f"list_changes_{table}_{change.split()[0].lower()}"


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
