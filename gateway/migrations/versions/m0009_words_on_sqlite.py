"""Words of tasks are indexed on SQLite too, wherever in a name they stand."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ADD = (
    "INSERT INTO task_words (rowid, original_name, title)"
    " VALUES (new.id, new.original_name, new.title);"
)
#: What was indexed has to be said again to be taken out.
_REMOVE = (
    "INSERT INTO task_words (task_words, rowid, original_name, title)"
    " VALUES ('delete', old.id, old.original_name, old.title);"
)
_CHANGES = (
    ("insert", "INSERT", _ADD),
    ("delete", "DELETE", _REMOVE),
    ("update", "UPDATE OF original_name, title", _REMOVE + _ADD),
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    # It keeps the index alone: the texts are those of the tasks.
    op.execute(
        "CREATE VIRTUAL TABLE task_words USING fts5"
        "(original_name, title, content='tasks', content_rowid='id', tokenize='trigram')"
    )
    op.execute("INSERT INTO task_words (task_words) VALUES ('rebuild')")
    for name, change, then in _CHANGES:
        op.execute(f"CREATE TRIGGER task_words_{name} AFTER {change} ON tasks BEGIN {then} END")


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
