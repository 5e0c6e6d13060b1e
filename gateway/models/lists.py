"""When has a list of tasks changed?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, UtcDateTime


class ListChange(Base):
    """A task may have entered a list or left one, or be found by other words. Triggers write it.

    ``task_id`` is 0 where it may be any task. ``of_state``: only lists of one state are concerned,
    which are few beside so many changes. ``writer`` is the transaction that made the change on
    PostgreSQL, and 0 on SQLite, where writers come one after the other.
    """

    __tablename__ = "list_changes"
    __table_args__ = (
        # SQLite's changes are found by their ids.
        Index("ix_list_changes_writer", "writer").ddl_if(dialect="postgresql"),
        Index(
            "ix_list_changes_writer_not_of_state", "writer", postgresql_where=text("NOT of_state")
        ).ddl_if(dialect="postgresql"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True
    )
    task_id: Mapped[int]
    of_state: Mapped[bool]
    writer: Mapped[int] = mapped_column(BigInteger, server_default="0")
    moment: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
