"""Where is each product of a task from, and what does a stage say while it works?"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, send_file
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer
from typing_extensions import TypedDict
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from gateway.api import schemas, serializers
from gateway.api.access import get_task
from gateway.api.errors import answer_to, not_found
from gateway.current import gateway
from gateway.models import AttemptState, Run, StageAttempt
from gateway.openapi import documented, media
from gateway.permissions import Right
from skyrelay.stages import STAGES, stage_of

blueprint = Blueprint("provenance", __name__)

_STEPS = frozenset(stage.step for stage in STAGES)
#: Bytes of a log that are sent at once; of a longer one the range that is asked for.
_LONGEST_LOG = 32 * 1024 * 1024


@schemas.exact
class _Origin(TypedDict):
    path: Annotated[str, Field(examples=["objects.parquet"])]
    size: Annotated[int, Field(description="Bytes.", examples=[81920])]
    sha256: Annotated[str, Field(examples=["9f86d081884c7d659a2feaa0c55ad015..."])]
    present: Annotated[bool, Field(description="Whether it is still there.", examples=[True])]
    step: schemas.Step
    run: schemas.RunId
    attempt: Annotated[int, Field(examples=[1])]
    worker: Annotated[str, Field(examples=["photometry@node1:4711"])]
    started: schemas.Later
    finished: schemas.Later


class _FullOrigin(_Origin):
    software: Annotated[
        dict[str, str],
        Field(
            description="Versions of packages, and of the programs that were started.",
            examples=[{"python": "3.11.2", "stdpipe": "0.4.1", "sextractor": "2.25.0"}],
        ),
    ]
    parameters: Annotated[
        schemas.Config, Field(description="The task's configuration when the stage had ended.")
    ]


@blueprint.get("/tasks/<int:task_id>/provenance/")
@documented({200: list[_Origin]})
def list_origins(task_id: int) -> ResponseReturnValue:
    """Of each product, the attempt that has made it last, and its checksum."""
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
        found = _makers(session, task_id)
    return jsonify([_origin(task_id, path, attempt) for path, attempt in sorted(found.items())])


@blueprint.get("/tasks/<int:task_id>/provenance/<path:path>")
@documented({200: _FullOrigin})
def origin(task_id: int, path: str) -> ResponseReturnValue:
    """How one product came to be: attempt, checksum, software and parameters."""
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
        attempt = _makers(session, task_id).get(path)
    if attempt is None:
        raise not_found()
    return jsonify(
        {
            **_origin(task_id, path, attempt),
            "software": attempt.provenance.get("software", {}),
            "parameters": attempt.provenance.get("config", {}),
        }
    )


@blueprint.get("/tasks/<int:task_id>/logs/<step>/")
@documented(
    {
        200: media("text/plain", example="12 objects\n", headers=("X-Log",)),
        206: media("text/plain", description="The range asked for.", headers=("X-Log",)),
    },
    errors=(416,),
)
def read_log(task_id: int, step: str) -> ResponseReturnValue:
    """What a step says: as it works, and when it has ended.

    Who follows it asks for the range from where the last answer ended (``Range: bytes=1234-``); an
    answer 416 means that nothing more was said. The header ``X-Log``, also of that answer, is
    ``live`` while it works.
    """
    if step not in _STEPS:
        raise not_found()
    with gateway().database.reading() as session:
        task = get_task(session, task_id, Right.VIEW)
        working = _working(session, task.celery_id, step)
    name = stage_of(step).log_name
    if working is not None:
        try:
            live = gateway().store.live_log(working.run_stage, name)
            return _log(live[:_LONGEST_LOG], "live")
        except FileNotFoundError:
            # It has not begun, or it has just ended.
            pass
    try:
        content = gateway().store.read_version(
            task_id, lambda folder: _start_of(folder / name), [name]
        )
    except (FileNotFoundError, IsADirectoryError):
        raise not_found() from None
    return _log(content, "final")


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST_LOG)


def _log(content: bytes, state: str) -> Response:
    try:
        response = send_file(
            io.BytesIO(content), mimetype="text/plain", conditional=True, etag=False, max_age=0
        )
    except RequestedRangeNotSatisfiable as error:
        # Who follows the log hears by the header that nothing more will come.
        response = answer_to(error)
    response.headers["X-Log"] = state
    return response


def _working(session: Session, run_id: str | None, step: str) -> StageAttempt | None:
    if run_id is None:
        return None
    return session.scalar(
        select(StageAttempt)
        .where(
            StageAttempt.run_id == run_id,
            StageAttempt.step == step,
            StageAttempt.state == AttemptState.RUNNING,
        )
        .order_by(StageAttempt.index.desc(), StageAttempt.part, StageAttempt.attempt.desc())
        .limit(1)
    )


def _makers(session: Session, task_id: int) -> dict[str, StageAttempt]:
    """Of each product, the attempt that has made it last."""
    attempts = session.scalars(
        select(StageAttempt)
        .join(Run, Run.id == StageAttempt.run_id)
        .where(
            Run.task_id == task_id,
            StageAttempt.state.in_([AttemptState.DONE, AttemptState.DEGRADED]),
        )
        .options(undefer(StageAttempt.provenance))
        .order_by(StageAttempt.finished)
    )
    return {
        path: attempt for attempt in attempts for path in attempt.provenance.get("products", {})
    }


def _origin(task_id: int, path: str, attempt: StageAttempt) -> dict[str, Any]:
    product = attempt.provenance["products"][path]
    return {
        "path": path,
        "size": product["size"],
        "sha256": product["sha256"],
        "present": gateway().store.has(task_id, path),
        "step": attempt.step,
        "run": attempt.run_id,
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "started": serializers.later(attempt.started),
        "finished": serializers.later(attempt.finished),
    }
