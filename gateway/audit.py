"""How is a change remembered?"""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from gateway.models import AuditEntry

_INSERT = insert(AuditEntry)


def remember(
    session: Session,
    action: str,
    *,
    user_id: int | None = None,
    task_id: int | None = None,
    ip: str = "",
    **details: Any,
) -> None:
    """Write down a change in the transaction that makes it."""
    session.connection().execute(
        _INSERT,
        {
            "action": action,
            "user_id": user_id,
            "task_id": None if action == "task_delete" else task_id,
            "task_id_ref": task_id,
            "ip": ip,
            "details": details,
        },
    )
