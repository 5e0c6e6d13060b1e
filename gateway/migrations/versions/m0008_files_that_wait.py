"""Files of watched folders that wait for room are found without looking at all others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    condition = sa.text("state = 'waiting'")
    op.create_index(
        "ix_intake_files_waiting",
        "intake_files",
        ["seen", "id"],
        sqlite_where=condition,
        postgresql_where=condition,
    )


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
