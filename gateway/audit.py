"""How is a change remembered?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from gateway.models import AuditEntry, Run, User
from skyrelay.stages import ARCHIVE, CLEANUP

_INSERT = insert(AuditEntry)
#: Steps that are entries of their own, and what these are called: what they remove is gone.
_REMOVING = {ARCHIVE.step: "task_archive", CLEANUP.step: "task_cleanup"}
#: Characters, as JSON, of a value in an entry. Whoever needs more has the task.
_LONGEST = 1000

#: Of each name that has changed, ``old`` and ``new``; what was not there before, or is no more,
#: is left out.
Changes = dict[str, dict[str, Any]]


def remember(
    session: Session,
    action: str,
    *,
    user: User | None = None,
    task_id: int | None = None,
    ip: str = "",
    **details: Any,
) -> None:
    """Write down a change in the transaction that makes it."""
    session.connection().execute(
        _INSERT,
        {
            "action": action,
            "user_id": user.id if user else None,
            "username": user.username if user else "",
            "task_id": None if action == "task_delete" else task_id,
            "task_id_ref": task_id,
            "ip": ip,
            "details": details,
        },
    )


def entries_of_run(
    run: Run, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is remembered of a run that begins, as actions and their details.

    ``before`` and ``after``: the configuration of its task without, and with, what came with it.
    """
    about = {"run": run.id, "steps": run.steps}
    if changes := differences(before, after):
        yield "config_change", {"run": run.id, "changes": changes}
    yield "processing_start", about
    for step in dict.fromkeys(run.steps):
        if step in _REMOVING:
            yield _REMOVING[step], {"run": run.id}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """What differs between two configurations, or two states of something."""
    versions = {"old": before, "new": after}
    return {
        name: {key: _brief(version[name]) for key, version in versions.items() if name in version}
        for name in {**before, **after}
        if name not in before or name not in after or before[name] != after[name]
    }


def _brief(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
