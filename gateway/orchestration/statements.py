"""How are open runs and their attempts read from the database, and written to it?

These statements are built once: every stage of every run needs them, and to build one takes longer
than the database does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import Update

from gateway.models import LIVE, Run, RunState, StageAttempt, Task
from gateway.orchestration.open_runs import OpenAttempt, OpenRun

#: What names a row in an update.
_KEY = "key_of_{}"

#: The columns of `latest`: first those of an `OpenRun`, then those of its `OpenAttempt`.
OF_RUN = (
    Run.id,
    Run.task_id,
    Run.user_id,
    Run.steps,
    Run.position,
    Run.parts,
    Run.priority,
    Run.reasons,
    Run.created,
    Task.user_id,
    Task.original_name,
    Task.title,
    Task.state,
)
_OF_ATTEMPT = (
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


@cache
def latest(runs: int, parts: int) -> Select[*tuple[Any, ...]]:
    """Open runs of so many given ones, and so many given parts of their present stages."""
    return (
        select(*OF_RUN, *_OF_ATTEMPT)
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


def values_of_attempt(attempt: OpenAttempt) -> Mapping[str, Any]:
    """The parameters of `WRITE_ATTEMPT`."""
    return {
        _KEY.format("run_id"): attempt.run_id,
        _KEY.format("index"): attempt.index,
        _KEY.format("part"): attempt.part,
        _KEY.format("attempt"): attempt.attempt,
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
