"""What is worth telling to others, and in which words?"""

from __future__ import annotations

from typing import Any

from gateway.models import Duty, FollowUp, Run, Task, now

CANDIDATES_FOUND = "candidates.found"
#: Everything that a webhook may be told.
EVENTS = ("run.done", "run.degraded", "run.failed", "run.cancelled", CANDIDATES_FOUND)


def run_ended(task: Task, run: Run) -> FollowUp:
    """The duty to tell that a run has ended, and how."""
    about = _about_task(task) | {
        "event": f"run.{run.state}",
        "run": {
            "id": run.id,
            "state": run.state,
            "steps": run.steps,
            "reasons": run.reasons,
            "seconds": round(((run.ended or now()) - run.created).total_seconds(), 3),
        },
    }
    return FollowUp(duty=Duty.NOTIFY, task_id=task.id, run_id=run.id, about=about)


def candidates_found(task: Task, run_id: str | None, step: str, count: int) -> FollowUp:
    """The duty to tell that a step has found candidates."""
    about = _about_task(task) | {
        "event": CANDIDATES_FOUND,
        "run": {"id": run_id},
        "step": step,
        "candidates": count,
    }
    return FollowUp(duty=Duty.NOTIFY, task_id=task.id, run_id=run_id, step=step, about=about)


def _about_task(task: Task) -> dict[str, Any]:
    return {
        "user": task.user_id,
        "task": {
            "id": task.id,
            "original_name": task.original_name,
            "title": task.title,
            "state": task.state,
        },
    }
