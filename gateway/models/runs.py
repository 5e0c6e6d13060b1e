"""What is kept of a run, of its attempts, and of the messages still to be sent?"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.models.base import Base, JsonObject, PlainText, UtcDateTime, now
from skyrelay.messages import RunStage


class RunState(StrEnum):
    """How a run stands; all but the first are ends."""

    OPEN = "open"
    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """How an attempt stands. Those of stages not yet begun do not exist."""

    #: Decided on, and held back until the stage's queue has room.
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


#: Attempts of which something is still to be heard.
LIVE = (AttemptState.WAITING, AttemptState.QUEUED, AttemptState.RUNNING)
#: Conditions for runs that are not over, for attempts whose command the broker or a replica has,
#: and for those whose command is held back. Partial indexes serve them only where they stand in a
#: query to the letter.
IS_OPEN = text("state = 'open'")
IS_OUT = text("state IN ('queued', 'running')")
IS_WAITING = text("state = 'waiting'")


class Run(Base):
    """One processing request for a task: a chain of stages.

    ``position`` and the latest attempt of each part are the fence: an event of an earlier stage,
    or of an earlier attempt, changes nothing any more. ``parts`` says into how many the present
    stage was split, ``priority`` which runs go before others (the higher).
    """

    __tablename__ = "runs"
    __table_args__ = (
        # The last word on "one open run per task", whatever the code above it believes.
        Index(
            "uq_runs_open_task_id",
            "task_id",
            unique=True,
            sqlite_where=IS_OPEN,
            postgresql_where=IS_OPEN,
        ),
        Index("ix_runs_task_id_created", "task_id", "created"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    steps: Mapped[list[str]] = mapped_column(JsonObject)
    state: Mapped[str] = mapped_column(String(20), default=RunState.OPEN)
    position: Mapped[int] = mapped_column(default=0)
    parts: Mapped[int] = mapped_column(default=0)
    priority: Mapped[int] = mapped_column(default=0)
    reasons: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)

    attempts: Mapped[list[StageAttempt]] = relationship(
        order_by="StageAttempt.index, StageAttempt.part, StageAttempt.attempt",
        passive_deletes=True,
    )

    @property
    def step(self) -> str:
        """The step that the run is at."""
        return self.steps[self.position]


class StageAttempt(Base):
    """One try of one stage of a run, or of one part of a stage that was split.

    ``part``: see `skyrelay.messages`. ``rank``, then ``turn`` order those that wait: the lowest is
    next. ``heard`` is the last sign of life, or the moment at which the command was sent.
    ``provenance`` says how the products of an attempt that ended well came to be.
    """

    __tablename__ = "stage_attempts"
    __table_args__ = (
        ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
        # Only the few attempts that are not over are ever looked for by these.
        Index(
            "ix_stage_attempts_out",
            "queue",
            "user_id",
            sqlite_where=IS_OUT,
            postgresql_where=IS_OUT,
        ),
        Index(
            "ix_stage_attempts_waiting",
            "queue",
            "rank",
            "turn",
            sqlite_where=IS_WAITING,
            postgresql_where=IS_WAITING,
        ),
        Index(
            "ix_stage_attempts_waiting_user",
            "queue",
            "user_id",
            "turn",
            sqlite_where=IS_WAITING,
            postgresql_where=IS_WAITING,
        ),
    )

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    index: Mapped[int] = mapped_column("position", primary_key=True, autoincrement=False)
    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=0)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[str] = mapped_column(String(50))
    state: Mapped[str] = mapped_column(String(20), default=AttemptState.QUEUED)
    command: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(String(60))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    rank: Mapped[int] = mapped_column(default=0)
    turn: Mapped[int] = mapped_column(default=0)
    queued: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    heard: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fraction: Mapped[float] = mapped_column(default=0.0)
    doing: Mapped[str] = mapped_column(PlainText, default="")
    worker: Mapped[str] = mapped_column(PlainText, default="")
    reasons: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    values: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict)
    provenance: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict, deferred=True)

    @property
    def run_stage(self) -> RunStage:
        """Its command, as it is sent."""
        return RunStage.model_validate_json(self.command)


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


class DeadLetter(Base):
    """A message that was put aside, for an operator to look at.

    ``meant_for`` is the step whose replicas should have taken it, or that it is an event;
    ``task_id``, ``run_id`` are None where the message does not say. ``handled`` says what was
    done about it: nothing yet, ``replayed`` or ``dropped``.
    """

    __tablename__ = "dead_letters"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    meant_for: Mapped[str] = mapped_column(String(60))
    reason: Mapped[str] = mapped_column(PlainText)
    body: Mapped[str] = mapped_column(PlainText)
    task_id: Mapped[int | None] = mapped_column(index=True)
    run_id: Mapped[str | None] = mapped_column(String(36))
    died: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    handled: Mapped[str] = mapped_column(String(20), default="", index=True)
    handled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    handled_by: Mapped[str] = mapped_column(PlainText, default="")
