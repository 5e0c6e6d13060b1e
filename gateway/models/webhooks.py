"""Whom does the gateway call when something has happened, and how did that go?"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.models.base import Base, JsonObject, PlainText, UtcDateTime, now


class DeliveryState(StrEnum):
    """How a call stands."""

    #: To be made, for the first time or again.
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


#: Condition of a partial index: see `gateway.models.runs`.
IS_PENDING = text("state = 'pending'")


class Webhook(Base):
    """An address that is notified of a user's tasks. Its secret is made as that of a token is."""

    __tablename__ = "webhooks"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(String(2000))
    nonce: Mapped[str] = mapped_column(String(64))
    events: Mapped[list[str]] = mapped_column(JsonObject, default=list)
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class WebhookDelivery(Base):
    """One event for one address: the log of deliveries, and what is still to be delivered.

    ``cause`` is the follow-up that it is made of: none is told twice of one. ``state``: pending,
    delivered, or failed when all tries are used up.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "cause"),
        Index(
            "ix_webhook_deliveries_due",
            "due",
            sqlite_where=IS_PENDING,
            postgresql_where=IS_PENDING,
        ),
        Index("ix_webhook_deliveries_created", "created"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    cause: Mapped[int]
    event: Mapped[str] = mapped_column(String(50))
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(20), default=DeliveryState.PENDING)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    due: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JsonObject, default=list)
    last_error: Mapped[str] = mapped_column(PlainText, default="")

    webhook: Mapped[Webhook] = relationship()
