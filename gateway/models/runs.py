"""What is kept of a run, of its attempts, and of the messages still to be sent?"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.models.base import Base, JsonObject, PlainText, UtcDateTime, now


class RunState(StrEnum):
    """How a run stands; all but the first are ends."""

    OPEN = "open"
    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """How an attempt stands. Those of stages not yet begun do not exist."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class Run(Base):
    """One processing request for a task: a chain of stages.

    ``position`` and ``attempt`` are the fence: an event of an earlier stage, or of an earlier
    attempt of this one, changes nothing any more.
    """

    __tablename__ = "runs"
    __table_args__ = (
        # The last word on "one open run per task", whatever the code above it believes.
        Index(
            "uq_runs_open_task_id",
            "task_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_runs_task_id_created", "task_id", "created"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    steps: Mapped[list[str]] = mapped_column(JsonObject)
    state: Mapped[str] = mapped_column(String(20), default=RunState.OPEN)
    position: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=1)
    reasons: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)

    attempts: Mapped[list[StageAttempt]] = relationship(
        order_by="StageAttempt.index, StageAttempt.attempt", passive_deletes=True
    )

    @property
    def step(self) -> str:
        """The step that the run is at."""
        return self.steps[self.position]


class StageAttempt(Base):
    """One try of one stage of a run."""

    __tablename__ = "stage_attempts"
    __table_args__ = (ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),)

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    index: Mapped[int] = mapped_column("position", primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[str] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(20), default=AttemptState.QUEUED)
    queued: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fraction: Mapped[float] = mapped_column(default=0.0)
    doing: Mapped[str] = mapped_column(PlainText, default="")
    worker: Mapped[str] = mapped_column(PlainText, default="")
    reasons: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    values: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict)


class OutboxMessage(Base):
    """A message that is to be published, written in the transaction that decided so.

    Until ``due`` the row belongs to whoever wrote or claimed it; then anybody may publish it.
    """

    __tablename__ = "outbox"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    due: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
