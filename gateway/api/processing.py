"""How does a client start, watch and stop the processing of a task?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload
from typing_extensions import TypedDict

from gateway.accounts.quotas import check_run
from gateway.api import schemas, serializers
from gateway.api.access import get_locked_task, get_standing, get_task
from gateway.api.auditing import remember_request, remember_run
from gateway.api.auth import current_user, tells_standing
from gateway.api.body import BadConfig, Body, checked_config, read_body, warnings_of
from gateway.api.errors import refused
from gateway.api.idempotency import once_per_key, remember_answer
from gateway.api.run_request import check_inputs, priority_of, steps_of
from gateway.current import gateway
from gateway.models import Run, StageAttempt, Task, User
from gateway.openapi import documented
from gateway.orchestration import runs
from gateway.orchestration.cancel import NotRunning, cancel
from gateway.permissions import Right
from skyrelay.parameters import ParameterError, Validated

blueprint = Blueprint("processing", __name__)


class _Processing(TypedDict):
    steps: Annotated[schemas.Steps, Field(description="One after the other.")]
    config: NotRequired[Annotated[schemas.Config, Field(description="Merged into the task's.")]]
    priority: NotRequired[schemas.Priority]


class _Started(TypedDict):
    id: schemas.TaskId
    state: Literal["running"]
    celery_id: schemas.RunId
    steps: schemas.Steps
    warnings: NotRequired[schemas.Warnings]


class _Cancelled(TypedDict):
    id: schemas.TaskId
    state: Literal["cancelled"]
    revoked_count: Annotated[int, Field(description="Stages that were not finished.", examples=[2])]


@blueprint.post("/tasks/<int:task_id>/process/")
@documented({200: _Started}, body=_Processing, errors=(409, 422, 429))
@once_per_key()
def process(task_id: int) -> ResponseReturnValue:
    """Begin a run of the given steps, one after the other."""
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        steps = steps_of(body)
        if not steps:
            raise refused(400, "No steps provided")
        validated = _config(body)
        run = begin(session, task, steps, validated.config, priority_of(body))
        answer = {"id": task_id, "state": "running", "celery_id": run.id, "steps": steps}
        answer |= warnings_of(validated)
        remember_answer(session, 200, answer)
    return jsonify(answer)


def begin(
    session: Session, task: Task, steps: list[str], config: dict[str, Any], priority: int = 0
) -> Run:
    """Begin a run of the locked task for the present user.

    Raises
    ------
    ApiError
        409 if it has one, 403 or 404 for images to stack that the user may not see, 429 if the
        user has as many runs as may be.
    """
    check_inputs(session, steps, task.config | config)
    check_run(gateway(), session, current_user())
    before = task.config
    try:
        run = runs.start(gateway(), session, task, steps, config, current_user().id, priority)
    except runs.AlreadyRunning as error:
        raise refused(409, "Task is already processing") from error
    remember_run(session, run, before, task)
    return run


@blueprint.post("/tasks/<int:task_id>/cancel/")
@documented({200: _Cancelled}, errors=(400,))
def cancel_task(task_id: int) -> ResponseReturnValue:
    """Stop the task's run, wherever it is."""
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        run = task.celery_id
        try:
            count = cancel(gateway(), session, task)
        except NotRunning as error:
            raise refused(400, "Task is not running") from error
        remember_request(
            session,
            "processing_cancel",
            task_id=task.id,
            run=run,
            revoked_count=count,
        )
    return jsonify({"id": task_id, "state": "cancelled", "revoked_count": count})


@blueprint.get("/tasks/<int:task_id>/state/")
@tells_standing
@documented({200: schemas.TaskState})
def state(task_id: int) -> ResponseReturnValue:
    """Where the task stands, and how far its run is."""
    with gateway().database.reading() as session:
        task = get_standing(session, task_id)
        run, attempts = _present(session, task.celery_id)
    return jsonify(serializers.task_state(task, run, attempts))


@blueprint.get("/tasks/<int:task_id>/runs/")
@documented({200: list[schemas.RunReport]})
def list_runs(task_id: int) -> ResponseReturnValue:
    """All runs of the task, newest first, with their stages and attempts."""
    with gateway().database.reading() as session:
        task = get_task(session, task_id, Right.VIEW)
        found = session.execute(
            select(Run, User.username)
            .outerjoin(User, User.id == Run.user_id)
            .where(Run.task_id == task.id)
            .options(selectinload(Run.attempts))
            .order_by(Run.created.desc(), Run.id)
        ).all()
    return jsonify([serializers.run_in_full(run, username) for run, username in found])


def _present(session: Session, run_id: str | None) -> tuple[Run | None, Sequence[StageAttempt]]:
    """The open run, and the attempts of its present stage."""
    if run_id is None:
        return None, ()
    found = session.execute(
        select(Run, StageAttempt)
        .join(
            StageAttempt,
            (StageAttempt.run_id == Run.id) & (StageAttempt.index == Run.position),
        )
        .where(Run.id == run_id)
        .order_by(StageAttempt.part, StageAttempt.attempt)
    ).all()
    return (found[0][0], [row[1] for row in found]) if found else (None, ())


def _config(body: Body) -> Validated:
    try:
        return checked_config(body.config())
    except BadConfig as error:
        raise refused(400, error.sentence, advice=error.advice) from error
    except ParameterError as error:
        raise refused(400, str(error)) from error
