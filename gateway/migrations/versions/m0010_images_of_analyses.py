"""Images that SkyPortal wants analysed are fetched when its question has been answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for column in (
        sa.Column("image", sa.String(2000), nullable=False, server_default=""),
        sa.Column("steps", _JSON, nullable=False, server_default="[]"),
        sa.Column("fetches", sa.Integer(), nullable=False, server_default="0"),
    ):
        op.add_column("analyses", column)
    condition = sa.text("state = 'fetching'")
    op.create_index(
        "ix_analyses_fetching",
        "analyses",
        ["due"],
        sqlite_where=condition,
        postgresql_where=condition,
    )


def downgrade() -> None:
    raise RuntimeError("Restore the back-up that was made before the upgrade.")
