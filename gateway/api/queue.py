"""What is being processed, or waits for it, and how is it stopped?

An entry is a run, under the id that STDWeb calls ``celery_id``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, NotRequired, TypeAlias

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import Row, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway.api import query, schemas
from gateway.api.access import get_locked_task, require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.errors import not_found, refused
from gateway.current import gateway
from gateway.models import IS_OPEN, AttemptState, Run, RunState, StageAttempt, Task
from gateway.openapi import documented
from gateway.orchestration.cancel import NotRunning, cancel, cancel_all
from gateway.permissions import Right, allowed, visible_to
from skyrelay.stages import stage_of

blueprint = Blueprint("queue", __name__, url_prefix="/queue")

#: Runs in one answer at most, and where no limit is given: STDWeb's clients know none.
_LARGEST_PAGE = 1000

#: What a page needs of a run and its task, and of an attempt. All of them would be much more.
_Run: TypeAlias = Row[str, list[str], int, int, str]
_Attempt: TypeAlias = Row[str, str, datetime | None]
_LISTED_RUN = select(Run.id, Run.steps, Run.position, Run.task_id, Task.original_name).join(
    Task, Task.id == Run.task_id
)

#: An attempt's state in the words of Celery's inspection.
_LISTED = {AttemptState.RUNNING: "active", AttemptState.QUEUED: "pending"}
#: A run's end in the words of Celery's results.
_ENDED = {
    RunState.DONE: "SUCCESS",
    RunState.DEGRADED: "SUCCESS",
    RunState.FAILED: "FAILURE",
    RunState.CANCELLED: "REVOKED",
}


class _OfTask(TypedDict, total=False):
    """Only for those who may see the task."""

    task_id: schemas.TaskId
    task_name: schemas.Name
    chain_position: Annotated[int, Field(description="From 1.", examples=[2])]
    chain_total: Annotated[int, Field(examples=[4])]


@schemas.exact
class QueueEntry(_OfTask):
    """A run that is not over."""

    id: schemas.RunId
    name: schemas.Step
    full_name: Annotated[str, Field(examples=["skyrelay.photometry.photometry"])]
    state: Annotated[
        Literal["active", "pending", "scheduled"],
        Field(description="At work; in the broker's queue; waiting for its turn."),
    ]
    time_start: Annotated[
        float | None, Field(description="Seconds since 1970.", examples=[1772399645.1])
    ]


@schemas.exact
class QueueState(_OfTask):
    """How a run stands, in Celery's words."""

    id: schemas.RunId
    state: Literal["PENDING", "STARTED", "SUCCESS", "FAILURE", "REVOKED"]
    ready: Annotated[bool, Field(examples=[False])]
    successful: Annotated[bool | None, Field(examples=[None])]
    failed: Annotated[bool | None, Field(examples=[None])]


@schemas.exact
class Terminated(TypedDict):
    """A run that was stopped."""

    id: schemas.RunId
    task_id: NotRequired[schemas.TaskId]
    revoked_count: Annotated[int, Field(description="Stages that were left.", examples=[2])]
    state: Literal["cancelled"]


class _Page(TypedDict, total=False):
    limit: Annotated[schemas.Limit, Field(description="1000 if it is not given, and at most.")]
    offset: schemas.Offset


class _AllCancelled(TypedDict):
    cancelled: Annotated[int, Field(description="How many runs there were.", examples=[3])]


@blueprint.get("/")
@documented({200: list[QueueEntry]}, query=_Page, errors=(400,))
def list_queue() -> ResponseReturnValue:
    """Runs that are not over, whoever began them, oldest first, at most 1000 at a time.

    Of a run whose task one may not see the task is not named.
    """
    limit = query.integer("limit", least=1, most=_LARGEST_PAGE, default=_LARGEST_PAGE)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    oldest = select(Run.id).where(IS_OPEN).order_by(Run.created, Run.id).limit(limit).offset(offset)
    with gateway().database.reading() as session:
        ids = session.scalars(oldest).all()
        found = session.execute(
            _LISTED_RUN.where(Run.id.in_(ids)).order_by(Run.created, Run.id)
        ).all()
        tasks = [row.task_id for row in found]
        seen = select(Task.id).where(Task.id.in_(tasks), visible_to(current_user()))
        visible = set(session.scalars(seen))
        attempts = _present_attempts(session, ids)
    return jsonify([_entry(row, row.task_id in visible, attempts[row.id]) for row in found])


@blueprint.get("/<celery_id>/")
@documented({200: QueueState})
def read_queue_entry(celery_id: str) -> ResponseReturnValue:
    """How a run stands, and how it ended."""
    with gateway().database.reading() as session:
        run, task = _find(session, celery_id)
        visible = allowed(session, current_user(), task, Right.VIEW)
        busy = _at_work(_present_attempts(session, [run.id])[run.id])
    ended = _ENDED.get(RunState(run.state))
    entry: QueueState = {
        "id": run.id,
        "state": ended or ("STARTED" if busy else "PENDING"),  # type: ignore[typeddict-item]
        "ready": ended is not None,
        "successful": None if ended is None else ended == "SUCCESS",
        "failed": None if ended is None else ended == "FAILURE",
    }
    of_task = _of_task(task.id, task.original_name, run.position, run.steps) if visible else {}
    return jsonify({**entry, **of_task})


@blueprint.post("/<celery_id>/terminate/")
@documented({200: Terminated}, errors=(400, 403, 507))
def terminate(celery_id: str) -> ResponseReturnValue:
    """Cancel a run; for those who may change its task."""
    with gateway().database.writing() as session:
        run, task = _find(session, celery_id)
        task = get_locked_task(session, task.id, Right.EDIT)
        if task.celery_id != run.id:
            raise refused(400, "Task is not running")
        try:
            count = cancel(gateway(), session, task)
        except NotRunning as error:
            raise refused(400, "Task is not running") from error
        remember_request(
            session, "processing_cancel", task_id=task.id, run=run.id, revoked_count=count
        )
        answer: Terminated = {
            "id": run.id,
            "task_id": task.id,
            "revoked_count": count,
            "state": "cancelled",
        }
    return jsonify(answer)


@blueprint.post("/terminate_all/")
@documented({200: _AllCancelled}, errors=(403, 507))
def terminate_all() -> ResponseReturnValue:
    """Cancel every run that there is now."""
    require_staff()
    count = cancel_all(gateway(), reason=f"stopped by {current_user().username}")
    with gateway().database.writing() as session:
        remember_request(
            session,
            "processing_cancel_all",
            runs=count,
        )
    return jsonify({"cancelled": count})


def _find(session: Session, run_id: str) -> tuple[Run, Task]:
    """The run and its task; the runs of deleted tasks are gone with them."""
    if "\x00" in run_id:
        raise not_found()
    run = session.get(Run, run_id)
    task = session.get(Task, run.task_id) if run is not None else None
    if run is None or task is None:
        raise not_found()
    return run, task


def _present_attempts(session: Session, runs: Sequence[str]) -> defaultdict[str, list[_Attempt]]:
    """Run -> the attempts of its present stage, in their order."""
    found = session.execute(
        select(StageAttempt.run_id, StageAttempt.state, StageAttempt.started)
        .join(Run, (Run.id == StageAttempt.run_id) & (Run.position == StageAttempt.index))
        .where(Run.id.in_(runs))
        .order_by(StageAttempt.queued)
    )
    of_run: defaultdict[str, list[_Attempt]] = defaultdict(list)
    for attempt in found:
        of_run[attempt.run_id].append(attempt)
    return of_run


def _at_work(attempts: Sequence[_Attempt]) -> _Attempt | None:
    return next((each for each in attempts if each.state == AttemptState.RUNNING), None)


def _entry(run: _Run, visible: bool, attempts: Sequence[_Attempt]) -> QueueEntry:
    busy = _at_work(attempts)
    states = {_LISTED.get(AttemptState(each.state)) for each in attempts}
    waiting = "pending" if "pending" in states else "scheduled"
    step = run.steps[run.position]
    entry: QueueEntry = {
        "id": run.id,
        "name": step,
        "full_name": f"skyrelay.{stage_of(step).service}.{step}",
        "state": "active" if busy else waiting,  # type: ignore[typeddict-item]
        "time_start": busy.started.timestamp() if busy and busy.started else None,
    }
    if not visible:
        return entry
    return {**entry, **_of_task(run.task_id, run.original_name, run.position, run.steps)}


def _of_task(task: int, name: str, position: int, steps: Sequence[str]) -> _OfTask:
    return {
        "task_id": task,
        "task_name": name,
        "chain_position": position + 1,
        "chain_total": len(steps),
    }
