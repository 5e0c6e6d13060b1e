"""What is still to be done about something that happened, without the chain waiting for it?"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, JsonObject, UtcDateTime, now


class Duty(StrEnum):
    """What is to be done."""

    #: Take what was measured into the tables that are searched across tasks.
    INDEX = "index"
    #: Hand candidates to the broker, for consumers outside.
    ANNOUNCE = "announce"
    #: Tell the webhooks.
    NOTIFY = "notify"


class FollowUp(Base):
    """One duty, written in the transaction that gave rise to it; it goes when it is done.

    Until ``due`` the row belongs to whoever has claimed it; then anybody may. The task may be
    gone, which makes most duties void.
    """

    __tablename__ = "follow_ups"
    __table_args__ = (Index("ix_follow_ups_due", "duty", "due"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    duty: Mapped[str] = mapped_column(String(20))
    task_id: Mapped[int]
    run_id: Mapped[str | None] = mapped_column(String(36))
    step: Mapped[str] = mapped_column(String(50), default="")
    about: Mapped[dict[str, Any]] = mapped_column(JsonObject, default=dict)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    due: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    tries: Mapped[int] = mapped_column(default=0)
