"""How is a change that a request makes remembered: by whom, from where?"""

from __future__ import annotations

from typing import Any

from flask import request
from sqlalchemy.orm import Session

from gateway.api.auth import current_user
from gateway.audit import remember


def remember_request(
    session: Session, action: str, *, task_id: int | None = None, **details: Any
) -> None:
    """Write down what the present request changes, in the transaction that changes it."""
    remember(
        session,
        action,
        user_id=current_user().id,
        task_id=task_id,
        ip=request.remote_addr or "",
        access="api",
        **details,
    )
