"""What is worth telling to others, and in which words?"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, select

from gateway.models import Duty, FollowUp, Task, Webhook, now
from gateway.orchestration.open_runs import OpenRun

CANDIDATES_FOUND = "candidates.found"
#: Everything that a webhook may be told.
EVENTS = ("run.done", "run.degraded", "run.failed", "run.cancelled", CANDIDATES_FOUND)

_LISTENER = select(Webhook.id).where(Webhook.user_id == bindparam("user"), Webhook.active).limit(1)


def has_listeners(connection: Connection, user_id: int) -> bool:
    """Whether the user wants to be told: for most there is nothing to do."""
    return connection.execute(_LISTENER, {"user": user_id}).first() is not None


def run_ended(run: OpenRun) -> dict[str, Any]:
    """The duty to tell that a run has ended, and how; as a row of `FollowUp`."""
    about = _about_task(run.owner_id, run.task_id, run.original_name, run.title, run.task_state) | {
        "event": f"run.{run.state}",
        "run": {
            "id": run.id,
            "state": run.state,
            "steps": run.steps,
            "reasons": run.reasons,
            "seconds": round(((run.ended or now()) - run.created).total_seconds(), 3),
        },
    }
    return {"duty": Duty.NOTIFY, "task_id": run.task_id, "run_id": run.id, "about": about}


def candidates_found(task: Task, run_id: str | None, step: str, count: int) -> FollowUp:
    """The duty to tell that a step has found candidates."""
    about = _about_task(task.user_id, task.id, task.original_name, task.title, task.state) | {
        "event": CANDIDATES_FOUND,
        "run": {"id": run_id},
        "step": step,
        "candidates": count,
    }
    return FollowUp(duty=Duty.NOTIFY, task_id=task.id, run_id=run_id, step=step, about=about)


def _about_task(
    owner_id: int, task_id: int, original_name: str, title: str, state: str
) -> dict[str, Any]:
    return {
        "user": owner_id,
        "task": {
            "id": task_id,
            "original_name": original_name,
            "title": title,
            "state": state,
        },
    }
