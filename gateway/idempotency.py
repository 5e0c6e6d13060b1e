"""For how long is remembered what was answered to a request with an ``Idempotency-Key``?"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete

from gateway.core import Gateway
from gateway.models import AnsweredRequest, now

_KEPT = timedelta(days=1)


def forget_answers(gateway: Gateway) -> None:
    """Drop answers for which nobody will ask again."""
    with gateway.database.writing() as session:
        session.execute(delete(AnsweredRequest).where(AnsweredRequest.created < now() - _KEPT))
