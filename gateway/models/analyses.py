"""Which analyses has SkyPortal asked for, and what is it told when they are done?"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, JsonObject, PlainText, UtcDateTime, now
from gateway.models.runs import IS_WAITING
from gateway.models.webhooks import IS_PENDING, DeliveryState


class AnalysisState(StrEnum):
    """How an analysis stands."""

    #: Its image is to be fetched.
    FETCHING = "fetching"
    #: For the run, if it has one, and to be put together.
    WAITING = "waiting"
    #: The answer, ``body``, is to be delivered.
    PENDING = DeliveryState.PENDING.value
    DELIVERED = DeliveryState.DELIVERED.value
    FAILED = DeliveryState.FAILED.value


#: Condition of a partial index: see `gateway.models.runs`.
IS_FETCHING = text("state = 'fetching'")


class Analysis(Base):
    """One analysis of an object, which is answered by a call of ``callback_url``.

    ``image`` is the address of the image that is processed for it by ``steps``, and was tried
    ``fetches`` times without success; it is empty where the image came along. ``ra``, ``dec`` in
    degrees (ICRS), ``radius`` in arcsec. After ``expires`` nobody listens at the address any more.
    """

    __tablename__ = "analyses"
    __table_args__ = (
        Index("ix_analyses_waiting", "due", sqlite_where=IS_WAITING, postgresql_where=IS_WAITING),
        Index(
            "ix_analyses_fetching", "due", sqlite_where=IS_FETCHING, postgresql_where=IS_FETCHING
        ),
        Index("ix_analyses_due", "due", sqlite_where=IS_PENDING, postgresql_where=IS_PENDING),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    object_id: Mapped[str] = mapped_column(String(250))
    ra: Mapped[float]
    dec: Mapped[float]
    radius: Mapped[float]
    callback_url: Mapped[str] = mapped_column(String(2000))
    task_id: Mapped[int | None]
    run_id: Mapped[str | None] = mapped_column(String(36))
    image: Mapped[str] = mapped_column(String(2000), default="")
    steps: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    fetches: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(20), default=AnalysisState.WAITING)
    body: Mapped[str] = mapped_column(Text, default="", deferred=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    expires: Mapped[datetime | None] = mapped_column(UtcDateTime)
    due: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JsonObject, default=list)
    last_error: Mapped[str] = mapped_column(PlainText, default="")
