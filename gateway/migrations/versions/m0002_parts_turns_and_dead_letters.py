"""Attempts of parts and of those that wait their turn; dead letters.

The commands of runs that are open now are not kept anywhere: these runs fail, and say why.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_OUT = sa.text("state IN ('queued', 'running')")
_WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("meant_for", sa.String(length=60), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("died", sa.DateTime(timezone=True), nullable=False),
        sa.Column("handled", sa.String(length=20), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handled_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_dead_letters_task_id"), "dead_letters", ["task_id"])
    op.create_index(op.f("ix_dead_letters_handled"), "dead_letters", ["handled"])
    _fail_open_runs()
    for name in ("parts", "priority"):
        op.add_column("runs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.drop_column("runs", "attempt")
    with op.batch_alter_table("stage_attempts") as attempts:
        attempts.add_column(sa.Column("part", sa.Integer(), nullable=False, server_default="0"))
        attempts.add_column(sa.Column("command", sa.Text(), nullable=False, server_default=""))
        attempts.add_column(
            sa.Column("queue", sa.String(length=60), nullable=False, server_default="")
        )
        attempts.add_column(sa.Column("user_id", sa.Integer(), nullable=True))
        attempts.add_column(sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
        attempts.add_column(sa.Column("turn", sa.Integer(), nullable=False, server_default="0"))
        attempts.add_column(sa.Column("heard", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE stage_attempts SET queue = step, heard = queued")
    with op.batch_alter_table("stage_attempts") as attempts:
        attempts.alter_column("heard", existing_type=sa.DateTime(timezone=True), nullable=False)
        attempts.drop_constraint(op.f("pk_stage_attempts"), type_="primary")
        attempts.create_primary_key(
            op.f("pk_stage_attempts"), ["run_id", "position", "part", "attempt"]
        )
        attempts.create_foreign_key(
            op.f("fk_stage_attempts_user_id_users"),
            "users",
            ["user_id"],
            ["id"],
            ondelete="SET NULL",
        )
    op.create_index(
        "ix_stage_attempts_out",
        "stage_attempts",
        ["queue", "user_id"],
        sqlite_where=_OUT,
        postgresql_where=_OUT,
    )
    op.create_index(
        "ix_stage_attempts_waiting",
        "stage_attempts",
        ["queue", "rank", "turn"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
    op.create_index(
        "ix_stage_attempts_waiting_user",
        "stage_attempts",
        ["queue", "user_id", "turn"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )


def _fail_open_runs() -> None:
    reasons = '["Skyrelay was upgraded while this run was open: process the image again."]'
    values = f"state = 'failed', reasons = '{reasons}'"
    op.execute(f"UPDATE tasks SET {values}, celery_id = NULL WHERE celery_id IS NOT NULL")
    op.execute(f"UPDATE runs SET {values}, ended = CURRENT_TIMESTAMP WHERE state = 'open'")
    op.execute("DELETE FROM outbox")


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
