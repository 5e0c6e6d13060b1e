"""How is a change that a request makes remembered: by whom, from where?"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from flask import g, request
from sqlalchemy.orm import Session

from gateway.audit import entries_of_run, remember
from gateway.models import Run, Task, User


def remember_request(
    session: Session,
    action: str,
    *,
    task_id: int | None = None,
    user: User | None = None,
    **details: Any,
) -> None:
    """Write down what the present request changes, in the transaction that changes it.

    ``user`` is for requests that log somebody in; all others have theirs.
    """
    remember(
        session,
        action,
        user=user or g.get("user"),
        task_id=task_id,
        ip=remote_address(),
        access=g.get("access", "api"),
        **details,
    )


def remember_run(session: Session, run: Run, before: dict[str, Any], task: Task) -> None:
    """Write down that the present request begins a run.

    ``before``: the configuration of its task without what came with the run.
    """
    for action, details in entries_of_run(run, before, task.config):
        remember_request(session, action, task_id=task.id, **details)


def remote_address() -> str:
    """The address that the present request came from; empty where a proxy names none."""
    try:
        return str(ip_address(request.remote_addr or ""))
    except ValueError:
        return ""
