"""When has a list of tasks changed?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Integer, func
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, UtcDateTime


class ListChange(Base):
    """A task entered a list, left one, or is found by other words. Triggers write it.

    Its number is the transaction that made the change on PostgreSQL, and a counter on SQLite.
    """

    __tablename__ = "list_changes"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True
    )
    moment: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.current_timestamp())
