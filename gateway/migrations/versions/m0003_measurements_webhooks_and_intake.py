"""What was measured, what is still to be done, webhooks, and where files come from.

What earlier runs have measured is taken into the new tables by and by.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "follow_ups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("duty", sa.String(length=20), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("step", sa.String(length=50), nullable=False),
        sa.Column("about", _JSON, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_ups")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_follow_ups_due", "follow_ups", ["duty", "due"], unique=False)
    op.create_table(
        "measurements",
        sa.Column("set_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cell", sa.BigInteger(), nullable=False),
        sa.Column("mag", sa.REAL(), nullable=True),
        sa.Column("mag_err", sa.REAL(), nullable=True),
        sa.Column("mag_limit", sa.REAL(), nullable=True),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("set_id", "n", name=op.f("pk_measurements")),
    )
    op.create_index(op.f("ix_measurements_cell"), "measurements", ["cell"], unique=False)
    op.create_table(
        "answered_requests",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_answered_requests_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_answered_requests")),
    )
    op.create_index(
        op.f("ix_answered_requests_created"), "answered_requests", ["created"], unique=False
    )
    op.create_table(
        "intakes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(length=4096), nullable=False),
        sa.Column("pattern", sa.String(length=250), nullable=False),
        sa.Column("preset_id", sa.Integer(), nullable=True),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("steps", _JSON, nullable=False),
        sa.Column("groups", _JSON, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["preset_id"],
            ["presets.id"],
            name=op.f("fk_intakes_preset_id_presets"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_intakes_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intakes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_intakes_kind"), "intakes", ["kind"], unique=False)
    op.create_index(op.f("ix_intakes_user_id"), "intakes", ["user_id"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("events", _JSON, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_webhooks_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_webhooks_user_id"), "webhooks", ["user_id"], unique=False)
    op.create_table(
        "coverage_cells",
        sa.Column("uniq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
            name=op.f("fk_coverage_cells_task_id_tasks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uniq", "task_id", name=op.f("pk_coverage_cells")),
    )
    op.create_index(op.f("ix_coverage_cells_task_id"), "coverage_cells", ["task_id"], unique=False)
    op.create_table(
        "intake_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("intake_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=4096), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["intake_id"],
            ["intakes.id"],
            name=op.f("fk_intake_files_intake_id_intakes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intake_files")),
        sa.UniqueConstraint(
            "intake_id",
            "path",
            "fingerprint",
            name=op.f("uq_intake_files_intake_id_path_fingerprint"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_intake_files_checksum", "intake_files", ["intake_id", "checksum"], unique=False
    )
    op.create_index(
        "ix_intake_files_ready",
        "intake_files",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_table(
        "measurement_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("filter", sa.String(length=50), nullable=False),
        sa.Column("time", sa.Double(), nullable=True),
        sa.Column("mag_limit", sa.Double(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
            name=op.f("fk_measurement_sets_task_id_tasks"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurement_sets")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_measurement_sets_litter",
        "measurement_sets",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state <> 'current' OR task_id IS NULL"),
        postgresql_where=sa.text("state <> 'current' OR task_id IS NULL"),
    )
    op.create_index(
        op.f("ix_measurement_sets_task_id"), "measurement_sets", ["task_id"], unique=False
    )
    op.create_index(
        "uq_measurement_sets_current",
        "measurement_sets",
        ["task_id", "source"],
        unique=True,
        sqlite_where=sa.text("state = 'current'"),
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_table(
        "task_results",
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("filter", sa.String(length=50), nullable=False),
        sa.Column("time", sa.Double(), nullable=True),
        sa.Column("zero_point", sa.Double(), nullable=True),
        sa.Column("zero_point_error", sa.Double(), nullable=True),
        sa.Column("color_term", sa.Double(), nullable=True),
        sa.Column("mag_limit", sa.Double(), nullable=True),
        sa.Column("fwhm", sa.Double(), nullable=True),
        sa.Column("n_objects", sa.Integer(), nullable=True),
        sa.Column("n_targets", sa.Integer(), nullable=False),
        sa.Column("n_candidates", sa.Integer(), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("targets", _JSON, nullable=False),
        sa.Column("candidates", _JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
            name=op.f("fk_task_results_task_id_tasks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task_results")),
    )
    op.create_index(op.f("ix_task_results_filter"), "task_results", ["filter"], unique=False)
    op.create_index(op.f("ix_task_results_time"), "task_results", ["time"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=50), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", _JSON, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id_webhooks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint(
            "webhook_id", "cause", name=op.f("uq_webhook_deliveries_webhook_id_cause")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_webhook_deliveries_created", "webhook_deliveries", ["created"], unique=False
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["due"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.add_column(
        "stage_attempts", sa.Column("provenance", _JSON, nullable=False, server_default="{}")
    )
    op.create_index("ix_tasks_user_id_modified", "tasks", ["user_id", "modified"], unique=False)
    op.execute(
        "INSERT INTO follow_ups (duty, task_id, step, about, created, due, tries) "
        "SELECT 'index', id, '', '{}', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0 FROM tasks"
    )


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
