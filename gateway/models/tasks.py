"""What is a task: an image with its configuration, its owner, and where it stands?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.models.base import Base, JsonObject, UtcDateTime, now
from gateway.models.users import Group, User
from skyrelay import task_states

task_groups = Table(
    "task_groups",
    Base.metadata,
    Column("task_id", ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Task(Base):
    """An image with its configuration, files and owner.

    ``celery_id`` is the open run, under the name that clients know; it is None while nothing
    runs. Whoever changes the state of a run holds the lock of its task's row first. ``reasons``
    says why the last run failed, or what its results lack. Its files had ``size`` bytes when they
    were ``measured`` last.
    """

    __tablename__ = "tasks"
    # A deleted task's number is in messages and on disk, and must never be given again.
    __table_args__ = (
        Index("ix_tasks_user_id_id", "user_id", "id"),
        Index("ix_tasks_user_id_modified", "user_id", "modified"),
        *(
            # Of three letters each, so that a word is found wherever it stands.
            Index(
                f"ix_tasks_{name}_words",
                name,
                postgresql_using="gin",
                postgresql_ops={name: "gin_trgm_ops"},
            ).ddl_if(dialect="postgresql")
            for name in ("original_name", "title")
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    original_name: Mapped[str] = mapped_column(String(250), default="")
    title: Mapped[str] = mapped_column(String(250), default="")
    state: Mapped[str] = mapped_column(String(50), default=task_states.INITIAL, index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    modified: Mapped[datetime] = mapped_column(UtcDateTime, default=now, onupdate=now)
    completed: Mapped[datetime | None] = mapped_column(UtcDateTime)
    config: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict)
    celery_id: Mapped[str | None] = mapped_column(String(36))
    reasons: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    ra: Mapped[float | None]
    dec: Mapped[float | None]
    radius: Mapped[float | None]
    pixel_scale: Mapped[float | None]
    moc: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    measured: Mapped[datetime | None] = mapped_column(UtcDateTime)

    user: Mapped[User] = relationship()
    groups: Mapped[list[Group]] = relationship(secondary=task_groups, order_by=Group.name)


class Preset(Base):
    """A configuration, and files, that a new task may begin with."""

    __tablename__ = "presets"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(250))
    config: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict)
    files: Mapped[list[str]] = mapped_column(JsonObject, default=list)
