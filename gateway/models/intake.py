"""Which files are to become tasks, and what became of them?"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, JsonObject, PlainText, UtcDateTime, now
from gateway.models.runs import IS_WAITING


class IntakeKind(StrEnum):
    """Where the files come from."""

    WATCH = "watch"
    BATCH = "batch"


class IntakeState(StrEnum):
    """How a file stands."""

    #: Seen, and perhaps still being written, or gone before it was taken.
    SEEN = "seen"
    #: Complete: to be made a task.
    READY = "ready"
    #: Complete, but there is no room for it, or it cannot be read: tried again later.
    WAITING = "waiting"
    TAKEN = "taken"
    #: The same file, under another name or again, is a task already.
    DUPLICATE = "duplicate"
    REFUSED = "refused"


#: Condition of a partial index: see `gateway.models.runs`.
IS_READY = text("state = 'ready'")


class Intake(Base):
    """How files become tasks, and whose: a folder that is watched, or a batch.

    ``folder`` is relative to the data folder. A batch has no ``pattern``: its files are listed
    when it is made.
    """

    __tablename__ = "intakes"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    folder: Mapped[str] = mapped_column(String(4096), default="")
    pattern: Mapped[str] = mapped_column(String(250), default="")
    preset_id: Mapped[int | None] = mapped_column(ForeignKey("presets.id", ondelete="SET NULL"))
    config: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict)
    steps: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    groups: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    priority: Mapped[int] = mapped_column(default=0)
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class IntakeFile(Base):
    """A file that is to become a task, or has: it is one at most once.

    ``fingerprint`` tells a file from another one that comes later under its name; ``checksum`` is
    the SHA-256 of its content. ``task_id`` still names a task that is gone.
    """

    __tablename__ = "intake_files"
    __table_args__ = (
        UniqueConstraint("intake_id", "path", "fingerprint"),
        Index("ix_intake_files_checksum", "intake_id", "checksum"),
        Index("ix_intake_files_ready", "id", sqlite_where=IS_READY, postgresql_where=IS_READY),
        Index(
            "ix_intake_files_waiting",
            *("seen", "id"),
            sqlite_where=IS_WAITING,
            postgresql_where=IS_WAITING,
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    intake_id: Mapped[int] = mapped_column(ForeignKey("intakes.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(String(4096))
    fingerprint: Mapped[str] = mapped_column(String(64), default="")
    checksum: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[str] = mapped_column(String(20), default=IntakeState.SEEN)
    task_id: Mapped[int | None]
    reason: Mapped[str] = mapped_column(PlainText, default="")
    seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
