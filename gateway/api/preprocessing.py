"""How does a client change the image of a task: repair its file, crop it, remove stripes?

The work is a run of one step, as any other, that can be watched and cancelled. The answer comes
when it has ended, as STDWeb's clients expect; where it takes longer than they would wait, or too
many wait already, they are told which run to watch.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api import schemas
from gateway.api.access import get_locked_task
from gateway.api.body import Body, read_body
from gateway.api.errors import invalid, refused
from gateway.api.processing import begin
from gateway.api.waiting import room_to_wait
from gateway.current import gateway
from gateway.models import Run, RunState
from gateway.openapi import Answer, documented
from gateway.permissions import Right
from skyrelay.parameters import ParameterError, validate
from skyrelay.products import IMAGE
from skyrelay.stages import CROP, DESTRIPE, FIX, Stage

blueprint = Blueprint("preprocessing", __name__)

#: Seconds that a client is kept waiting; proxies and clients often give up after 30.
PATIENCE = 25.0
#: Seconds between looks at the run.
_LOOK = 0.1
#: STDWeb's words.
_NO_IMAGE = "Image file not found"


class _Box(TypedDict, total=False):
    x1: Annotated[int | None, Field(description="First column that is kept.", examples=[100])]
    y1: Annotated[int | None, Field(description="First row that is kept.", examples=[100])]
    x2: Annotated[int | None, Field(description="First column that is not.", examples=[-100])]
    y2: Annotated[int | None, Field(description="First row that is not.", examples=[-100])]


class _Direction(TypedDict, total=False):
    direction: Annotated[Literal["horizontal", "vertical", "both"], Field(examples=["both"])]


class _Changed(TypedDict):
    id: schemas.TaskId
    status: Annotated[str, Field(examples=["cropped"])]


class _StillRunning(TypedDict):
    id: schemas.TaskId
    status: Literal["running"]
    celery_id: schemas.RunId


_ANSWERS = {
    200: _Changed,
    202: Answer(_StillRunning, "It takes longer, or many wait: watch the run."),
}


@blueprint.post("/tasks/<int:task_id>/fix/")
@documented(_ANSWERS, errors=(400, 409, 429))
def fix(task_id: int) -> ResponseReturnValue:
    """Write the image anew as a plain file with a clean header."""
    return _change(task_id, FIX, {}, "fixed")


@blueprint.post("/tasks/<int:task_id>/crop/")
@documented(_ANSWERS, body=_Box, errors=(409, 429))
def crop(task_id: int) -> ResponseReturnValue:
    """Keep a part of the image: x1, y1, x2, y2; negative ones count from the far edge."""
    body = read_body(files_too=False)
    box = {name: body.integer(name) for name in ("x1", "y1", "x2", "y2")}
    return _change(task_id, CROP, _checked("crop_", box), "cropped")


@blueprint.post("/tasks/<int:task_id>/destripe/")
@documented(_ANSWERS, body=_Direction, errors=(409, 429))
def destripe(task_id: int) -> ResponseReturnValue:
    """Remove stripes in the direction horizontal, vertical, or both."""
    direction = _direction(read_body(files_too=False))
    return _change(task_id, DESTRIPE, _checked("destripe_", direction), "destriped")


def _direction(body: Body) -> dict[str, Any]:
    return {"direction": body.text("direction", 100) or None}


def _checked(prefix: str, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the step; the client calls them by their names without the prefix."""
    try:
        return validate({prefix + name: value for name, value in given.items()}).config
    except ParameterError as error:
        raise invalid(**{error.name.removeprefix(prefix): error.message}) from error


def _change(task_id: int, stage: Stage, config: dict[str, Any], status: str) -> ResponseReturnValue:
    run = _start(task_id, stage, config)
    with room_to_wait() as may_wait:
        ended = _wait_for(run) if may_wait else None
    if ended is None:
        return jsonify({"id": task_id, "status": "running", "celery_id": run}), 202
    state, reasons = ended
    if state == RunState.CANCELLED:
        raise refused(409, f"{stage.title} was cancelled")
    if state == RunState.FAILED:
        raise refused(400, " ".join(reasons))
    return jsonify({"id": task_id, "status": status})


def _start(task_id: int, stage: Stage, config: dict[str, Any]) -> str:
    """Begin a run of the one step; its id."""
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        if not gateway().store.has(task_id, IMAGE):
            raise refused(404, _NO_IMAGE)
        return begin(session, task, [stage.step], config).id


def _wait_for(run_id: str) -> tuple[RunState, list[str]] | None:
    """How the run ended, and why; None if it has not yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with gateway().database.reading() as session:
            run = session.get(Run, run_id)
            if run is None:
                return RunState.CANCELLED, []  # The task is gone, and its runs with it.
            if run.state != RunState.OPEN:
                return RunState(run.state), list(run.reasons)
        if time.monotonic() > deadline:
            return None
        time.sleep(_LOOK)
