"""How do tasks, runs and presets look in an answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.accounts.users import PERMISSIONS
from gateway.api import schemas
from gateway.models import (
    ApiToken,
    AttemptState,
    AuditEntry,
    DeadLetter,
    Preset,
    Run,
    StageAttempt,
    Task,
    User,
    now,
)
from skyrelay import task_states
from skyrelay.stages import stage_of
from skyrelay.store import Entry


def moment(value: datetime) -> str:
    """A moment as ISO 8601 in UTC."""
    return value.isoformat().replace("+00:00", "Z")


def later(value: datetime | None) -> str | None:
    """A moment that may not have come yet."""
    return None if value is None else moment(value)


def task_in_list(row: Mapping[Any, Any]) -> schemas.TaskInList:
    """A task in a list, of the columns that the list needs; ``user`` is the owner's name."""
    return {
        "id": row["id"],
        "original_name": row["original_name"],
        "title": row["title"],
        "state": row["state"],
        "user": row["user"],
        "created": moment(row["created"]),
        "modified": moment(row["modified"]),
    }


def task_in_full(task: Task) -> schemas.TaskInFull:
    """All of a task."""
    return {
        "id": task.id,
        "original_name": task.original_name,
        "title": task.title,
        "state": task.state,
        "user": task.user.username,
        "groups": [group.name for group in task.groups],
        "created": moment(task.created),
        "modified": moment(task.modified),
        "completed": later(task.completed),
        "config": task.config,
        "celery_id": task.celery_id,
        "path": str(task.id),
    }


def task_created(task: Task) -> schemas.TaskCreated:
    """What is said of a task that has just been made."""
    return {
        "id": task.id,
        "original_name": task.original_name,
        "title": task.title,
        "config": task.config,
        "groups": [group.name for group in task.groups],
    }


def task_state(task: Task, run: Run | None, attempts: Sequence[StageAttempt]) -> schemas.TaskState:
    """Where a task stands; with its open run and the attempts of its present stage, how far."""
    state: schemas.TaskState = {"id": task.id, "state": task.state, "celery_id": task.celery_id}
    if run is not None and attempts:
        state = {**state, **_progress(run, attempts)}
    if task.reasons:
        if task_states.is_failed(task.state):
            state["error"] = " ".join(task.reasons)
        else:
            state["degraded"] = task.reasons
    return state


def _progress(run: Run, attempts: Sequence[StageAttempt]) -> schemas.Progress:
    latest = {attempt.part: attempt for attempt in attempts}
    if run.parts:
        # Its preparation and its end count like a part each.
        fraction = sum(attempt.fraction for attempt in latest.values()) / (run.parts + 2)
    else:
        fraction = latest[0].fraction
    busy = [each for each in latest.values() if each.state == AttemptState.RUNNING]
    doing = (busy or list(latest.values()))[-1].doing
    progress: schemas.Progress = {
        "progress": round((run.position + fraction) / len(run.steps), 4),
        "step": run.step,
        "stage": stage_of(run.step).title,
        "fraction": round(fraction, 4),
        "doing": doing or ("" if busy else "waits for a free worker"),
    }
    if run.parts:
        parts = [each for each in latest.values() if 0 < each.part <= run.parts]
        progress["parts"] = run.parts
        progress["parts_done"] = sum(bool(each.finished) for each in parts)
    return progress


def run_in_full(run: Run, username: str | None) -> schemas.RunReport:
    """A run with its stages and their attempts."""
    return {
        "id": run.id,
        "state": run.state,
        "user": username,
        "steps": run.steps,
        "priority": run.priority,
        "created": moment(run.created),
        "ended": later(run.ended),
        "seconds": _seconds(run.created, run.ended or now()),
        "reasons": run.reasons,
        "stages": [
            _stage(step, [attempt for attempt in run.attempts if attempt.index == index])
            for index, step in enumerate(run.steps)
        ],
    }


def _stage(step: str, attempts: Sequence[StageAttempt]) -> schemas.StageReport:
    last = attempts[-1] if attempts else None
    # The last attempt of a stage that was split joins its parts; it began with the first one.
    first = attempts[0] if last and last.part else last
    return {
        "step": step,
        "title": stage_of(step).title,
        "state": last.state if last else "waiting",
        "seconds": _seconds(first.started, last.finished) if first and last else None,
        "reasons": last.reasons if last else [],
        "values": last.values if last else {},
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def _attempt(attempt: StageAttempt) -> schemas.Attempt:
    return {
        "part": attempt.part,
        "attempt": attempt.attempt,
        "state": attempt.state,
        "worker": attempt.worker,
        "queued": moment(attempt.queued),
        "started": later(attempt.started),
        "finished": later(attempt.finished),
        "seconds": _seconds(attempt.started, attempt.finished),
        "fraction": attempt.fraction,
        "doing": attempt.doing,
        "reasons": attempt.reasons,
    }


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round((end - start).total_seconds(), 3)


def preset(found: Preset) -> schemas.PresetAnswer:
    """A preset; its files are nobody's business."""
    return {"id": found.id, "name": found.name, "config": found.config}


def dead_letter(letter: DeadLetter) -> schemas.DeadLetterAnswer:
    """A message that was put aside."""
    return {
        "id": letter.id,
        "died": moment(letter.died),
        "meant_for": letter.meant_for,
        "reason": letter.reason,
        "task": letter.task_id,
        "run": letter.run_id,
        "body": letter.body,
        "handled": letter.handled,
        "handled_at": later(letter.handled_at),
        "handled_by": letter.handled_by,
    }


def user(found: User) -> dict[str, Any]:
    """A user, for the user; the groups are not loaded for it."""
    return {
        "id": found.id,
        "username": found.username,
        "first_name": found.first_name,
        "last_name": found.last_name,
        "email": found.email,
        "is_staff": found.is_staff,
        "permissions": [name for name in PERMISSIONS if getattr(found, name)],
        "created": moment(found.created),
    }


def user_for_staff(found: User) -> dict[str, Any]:
    """All that an administrator may know of a user, and change."""
    return user(found) | {
        "is_active": found.is_active,
        "has_password": bool(found.password_hash),
        "openid": found.openid,
        "groups": [group.name for group in found.groups],
        **{name: getattr(found, name) for name in PERMISSIONS},
        "quota_tasks": found.quota_tasks,
        "quota_bytes": found.quota_bytes,
        "quota_runs": found.quota_runs,
    }


def token(found: ApiToken) -> dict[str, Any]:
    """A token without its key."""
    return {
        "id": found.id,
        "name": found.name,
        "created": moment(found.created),
        "expires": later(found.expires),
        "last_used": later(found.last_used),
    }


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """A change that was made."""
    return {
        "id": entry.id,
        "timestamp": moment(entry.timestamp),
        "user": entry.username,
        "action": entry.action,
        "task": entry.task_id_ref,
        "ip": entry.ip,
        "details": entry.details,
    }


def file_entry(entry: Entry) -> schemas.FileEntry:
    """A file in a listing."""
    return {
        "name": entry.name,
        "path": entry.path,
        "size": entry.size,
        "modified": moment(entry.modified),
        "is_dir": entry.is_dir,
    }
