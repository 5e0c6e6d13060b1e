"""How are open runs and their attempts read from the database, and written to it?

These statements are built once: every stage of every run needs them, and to build one takes longer
than the database does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import Update

from gateway.models import LIVE, AttemptState, Run, RunState, StageAttempt, Task
from gateway.orchestration.open_runs import OpenAttempt, OpenRun

#: What names a row in an update.
_KEY = "key_of_{}"

#: From which columns the fields of an `OpenRun` are read.
_RUN_COLUMNS = {
    "id": Run.id,
    "task_id": Run.task_id,
    "user_id": Run.user_id,
    "steps": Run.steps,
    "position": Run.position,
    "parts": Run.parts,
    "priority": Run.priority,
    "reasons": Run.reasons,
    "created": Run.created,
    "owner_id": Task.user_id,
    "original_name": Task.original_name,
    "title": Task.title,
    "task_state": Task.state,
}
#: From which columns the fields of an `OpenAttempt` are read.
_ATTEMPT_COLUMNS = {
    column.key: column
    for column in (
        StageAttempt.run_id,
        StageAttempt.index,
        StageAttempt.part,
        StageAttempt.attempt,
        StageAttempt.step,
        StageAttempt.state,
        StageAttempt.command,
        StageAttempt.queue,
        StageAttempt.user_id,
        StageAttempt.rank,
        StageAttempt.turn,
        StageAttempt.started,
        StageAttempt.worker,
        StageAttempt.reasons,
        StageAttempt.fraction,
        StageAttempt.doing,
        StageAttempt.heard,
    )
}


@cache
def latest(runs: int, parts: int) -> Select[*tuple[Any, ...]]:
    """Open runs of so many given ones, and so many given parts of their present stages."""
    return (
        select(*_RUN_COLUMNS.values(), *_ATTEMPT_COLUMNS.values())
        .join(Run, Run.task_id == Task.id)
        .outerjoin(
            StageAttempt,
            (StageAttempt.run_id == Run.id)
            & (StageAttempt.index == Run.position)
            & StageAttempt.part.in_([bindparam(f"part_{n}") for n in range(parts)]),
        )
        .where(Run.id.in_([bindparam(f"run_{n}") for n in range(runs)]), Run.state == RunState.OPEN)
        .order_by(StageAttempt.attempt)
    )


def read(row: Row[Any]) -> tuple[OpenRun, OpenAttempt | None]:
    """What a row of `latest` says; a run need not have such an attempt."""
    run = OpenRun(**dict(zip(_RUN_COLUMNS, row, strict=False)))
    of_attempt = dict(zip(_ATTEMPT_COLUMNS, row[len(_RUN_COLUMNS) :], strict=True))
    if of_attempt["run_id"] is None:
        return run, None
    return run, OpenAttempt(**of_attempt | {"state": AttemptState(of_attempt["state"])})


def _write(
    model: type[Run | Task | StageAttempt],
    keys: Collection[InstrumentedAttribute[Any]],
    columns: Collection[InstrumentedAttribute[Any]],
) -> Update:
    """An update of these columns, whose parameters have the names of the model's attributes."""
    return (
        update(model)
        .where(*(key == bindparam(_KEY.format(key.key)) for key in keys))
        .values({column: bindparam(column.key) for column in columns})
    )


WRITE_RUN = _write(Run, (Run.id,), (Run.state, Run.position, Run.parts, Run.reasons, Run.ended))
_STANDING = (Task.state, Task.celery_id, Task.reasons, Task.completed)
_FIELD = (Task.ra, Task.dec, Task.radius, Task.pixel_scale, Task.moc)
_WRITE_TASK = _write(Task, (Task.id,), _STANDING)
_WRITE_TASK_WITH_CONFIG = _write(Task, (Task.id,), (*_STANDING, Task.config))
_WRITE_TASK_WITH_FIELD = _write(Task, (Task.id,), (*_STANDING, Task.config, *_FIELD))
_ATTEMPT_KEYS = (
    StageAttempt.run_id,
    StageAttempt.index,
    StageAttempt.part,
    StageAttempt.attempt,
)
_CHANGING = (
    StageAttempt.state,
    StageAttempt.started,
    StageAttempt.finished,
    StageAttempt.heard,
    StageAttempt.fraction,
    StageAttempt.doing,
    StageAttempt.worker,
    StageAttempt.reasons,
    StageAttempt.values,
    StageAttempt.provenance,
)
WRITE_ATTEMPT = _write(StageAttempt, _ATTEMPT_KEYS, _CHANGING)
SEND_ON = _write(StageAttempt, _ATTEMPT_KEYS, (StageAttempt.state, StageAttempt.heard))
BEGIN_ATTEMPT = insert(StageAttempt)
GIVE_UP = (
    update(StageAttempt)
    .where(
        StageAttempt.run_id == bindparam("run"),
        StageAttempt.state.in_([bindparam(f"live_{n}", state) for n, state in enumerate(LIVE)]),
    )
    .values(state=bindparam("end"), finished=bindparam("moment"))
)


def values_of_run(run: OpenRun) -> Mapping[str, Any]:
    """The parameters of `WRITE_RUN`."""
    return {
        _KEY.format("id"): run.id,
        "state": run.state,
        "position": run.position,
        "parts": run.parts,
        "reasons": run.reasons,
        "ended": run.ended,
    }


def writes_of_tasks(runs: Sequence[OpenRun]) -> Iterator[tuple[Update, list[Mapping[str, Any]]]]:
    """What makes the runs' tasks show how they stand: statements, each with its parameters."""
    for statement in (_WRITE_TASK, _WRITE_TASK_WITH_CONFIG, _WRITE_TASK_WITH_FIELD):
        if values := [_values_of_task(run) for run in runs if _write_of_task(run) is statement]:
            yield statement, values


def _write_of_task(run: OpenRun) -> Update:
    if run.record is None:
        return _WRITE_TASK
    return _WRITE_TASK_WITH_FIELD if run.locates else _WRITE_TASK_WITH_CONFIG


def _values_of_task(run: OpenRun) -> Mapping[str, Any]:
    ended_well = run.state in (RunState.DONE, RunState.DEGRADED)
    values: dict[str, Any] = {
        _KEY.format("id"): run.task_id,
        "state": run.task_state,
        "celery_id": run.id if run.state is RunState.OPEN else None,
        "reasons": run.reasons,
        "completed": run.ended if ended_well else None,
    }
    if run.record is None:
        return values
    values["config"] = run.record.model_dump(mode="json", include={"config"})["config"]
    if not run.locates:
        # Not even None: a parameter with the name of a column is written, whatever the statement.
        return values
    place = run.record.field
    return values | {column.key: getattr(place, column.key) if place else None for column in _FIELD}


def values_of_new_attempt(attempt: OpenAttempt) -> Mapping[str, Any]:
    """The parameters of `BEGIN_ATTEMPT`."""
    return {
        "run_id": attempt.run_id,
        "position": attempt.index,
        "part": attempt.part,
        "attempt": attempt.attempt,
        "step": attempt.step,
        "state": attempt.state,
        "command": attempt.command,
        "queue": attempt.queue,
        "user_id": attempt.user_id,
        "rank": attempt.rank,
        "turn": attempt.turn,
    }


def values_of_sent(key: Sequence[Any], moment: datetime) -> Mapping[str, Any]:
    """The parameters of `SEND_ON`, for the attempt with this primary key."""
    return {**_key_of_attempt(key), "state": AttemptState.QUEUED, "heard": moment}


def _key_of_attempt(key: Sequence[Any]) -> dict[str, Any]:
    return {
        _KEY.format(column.key): value for column, value in zip(_ATTEMPT_KEYS, key, strict=True)
    }


def values_of_attempt(attempt: OpenAttempt) -> Mapping[str, Any]:
    """The parameters of `WRITE_ATTEMPT`."""
    return {
        **_key_of_attempt(attempt.key),
        "state": attempt.state,
        "started": attempt.started,
        "finished": attempt.finished,
        "heard": attempt.heard,
        "fraction": attempt.fraction,
        "doing": attempt.doing,
        "worker": attempt.worker,
        "reasons": attempt.reasons,
        "values": attempt.values,
        "provenance": attempt.provenance,
    }
