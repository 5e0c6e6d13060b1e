"""Alembic comes here to learn which tables there should be, and over which connection."""

from __future__ import annotations

from alembic import context

from gateway.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
