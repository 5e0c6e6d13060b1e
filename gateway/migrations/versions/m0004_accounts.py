"""Sessions, throttled logins, OpenID, quotas, and an audit log that can be searched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "browser_sessions",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("expires", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_browser_sessions_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_browser_sessions")),
    )
    op.create_index(op.f("ix_browser_sessions_user_id"), "browser_sessions", ["user_id"])
    op.create_table(
        "login_attempts",
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("who", name=op.f("pk_login_attempts")),
    )
    op.create_index(op.f("ix_login_attempts_until"), "login_attempts", ["until"])
    op.add_column("api_tokens", sa.Column("last_used", _MOMENT, nullable=True))
    # SQLite would make the table anew for a constraint, and empty all that refer to it.
    op.add_column(
        "users", sa.Column("email", sa.String(length=254), nullable=False, server_default="")
    )
    op.add_column("users", sa.Column("openid", sa.String(length=500), nullable=True))
    op.add_column("users", sa.Column("quota_tasks", sa.Integer(), nullable=True))
    op.add_column("users", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("quota_runs", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_users_openid"), "users", ["openid"], unique=True)
    op.add_column("tasks", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("measured", _MOMENT, nullable=True))
    op.add_column(
        "audit", sa.Column("username", sa.String(length=150), nullable=False, server_default="")
    )
    op.execute(
        "UPDATE audit SET username = (SELECT username FROM users WHERE users.id = audit.user_id) "
        "WHERE user_id IS NOT NULL"
    )
    op.create_index(op.f("ix_audit_user_id"), "audit", ["user_id"])
    op.create_index(op.f("ix_audit_task_id_ref"), "audit", ["task_id_ref"])


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
