"""When has a list of tasks changed?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Integer, func
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, UtcDateTime


class ListChange(Base):
    """A task may have entered a list or left one, or be found by other words. Triggers write it.

    ``task_id`` is 0 where it may be any task. ``writer`` is the transaction that made the change on
    PostgreSQL, and 0 on SQLite, where writers come one after the other.
    """

    __tablename__ = "list_changes"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True
    )
    task_id: Mapped[int]
    writer: Mapped[int] = mapped_column(BigInteger, index=True, server_default="0")
    moment: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
