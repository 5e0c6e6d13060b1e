"""What does a transaction know of open runs, and how does it leave them?

Every stage of every run passes here. The rows are read and written by statements that are built
once, the rows of many runs by one statement: the unit of work of the models would take several
times as long as the database does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.dml import Update

from gateway.followups.events import run_ended
from gateway.models import LIVE, AttemptState, FollowUp, Run, RunState, StageAttempt, Task, now
from skyrelay.messages import Event, Place, RunStage
from skyrelay.records import AttemptRecord
from skyrelay.stages import stage_of

#: Of a session: the runs that its transaction has ended.
ENDED = "ended"

#: What names a row in an update.
_KEY = "key_of_{}"


@dataclass(slots=True, eq=False)
class OpenRun:
    """A run that was open when the transaction found it, and what concerns it of its task.

    ``user_id`` is who has begun it, ``owner_id`` whose task it is. ``record`` is the last one of
    this transaction: the task takes over its configuration and where it lies on the sky.
    """

    id: str
    task_id: int
    user_id: int | None
    steps: list[str]
    position: int
    parts: int
    priority: int
    reasons: list[str]
    created: datetime
    owner_id: int
    original_name: str
    title: str
    task_state: str
    state: RunState = RunState.OPEN
    ended: datetime | None = None
    record: AttemptRecord | None = None
    locates: bool = False

    @property
    def step(self) -> str:
        """The step that the run is at."""
        return self.steps[self.position]

    def take_over(self, record: AttemptRecord) -> None:
        """Have the task take over what a stage that ended well has found out."""
        self.record = record
        # Some stages always have something to say of the position, if only that there is none.
        self.locates = record.field is not None or stage_of(record.step).locates

    def advance(self, task_state: str) -> None:
        """Go on to the next stage."""
        self.task_state = task_state
        self.position += 1
        self.parts = 0

    def end(self, state: RunState, task_state: str) -> None:
        """Close it; from here on every event of it is old news."""
        self.state = state
        self.task_state = task_state
        self.ended = now()


@dataclass(slots=True, eq=False)
class OpenAttempt:
    """The latest attempt of a run's present stage, or of a part of it."""

    run_id: str
    index: int
    part: int
    attempt: int
    step: str
    state: AttemptState
    command: str
    queue: str
    user_id: int | None
    rank: int
    turn: int
    started: datetime | None = None
    worker: str = ""
    reasons: list[str] = field(default_factory=list)
    fraction: float = 0.0
    doing: str = ""
    heard: datetime = field(default_factory=now)
    finished: datetime | None = None
    values: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def run_stage(self) -> RunStage:
        """Its command, as it is sent."""
        return RunStage.model_validate_json(self.command)

    def close(self, state: AttemptState, reasons: Iterable[str] = ()) -> None:
        """Nothing more is expected of it."""
        self.state = state
        self.finished = now()
        self.reasons = list(reasons)


_OF_RUN = (
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
def _latest(runs: int, parts: int) -> Select[*tuple[Any, ...]]:
    """Open runs of so many given ones, and so many given parts of their present stages."""
    return (
        select(*_OF_RUN, *_OF_ATTEMPT)
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


_RUN = _write(Run, (Run.id,), (Run.state, Run.position, Run.parts, Run.reasons, Run.ended))
_STANDING = (Task.state, Task.celery_id, Task.reasons, Task.completed)
_FIELD = (Task.ra, Task.dec, Task.radius, Task.pixel_scale, Task.moc)
_TASK = _write(Task, (Task.id,), _STANDING)
_TASK_WITH_CONFIG = _write(Task, (Task.id,), (*_STANDING, Task.config))
_TASK_WITH_FIELD = _write(Task, (Task.id,), (*_STANDING, Task.config, *_FIELD))
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
_ATTEMPT = _write(StageAttempt, _ATTEMPT_KEYS, _CHANGING)
_NEW_ATTEMPT = insert(StageAttempt)
_GIVE_UP = (
    update(StageAttempt)
    .where(
        StageAttempt.run_id == bindparam("run"),
        StageAttempt.state.in_([bindparam(f"live_{n}", state) for n, state in enumerate(LIVE)]),
    )
    .values(state=bindparam("end"), finished=bindparam("moment"))
)
_FOLLOW_UP = insert(FollowUp)


class Ledger:
    """The open runs that a transaction is about; their tasks are locked by it.

    What is changed in them is kept here until `write`.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        #: For statements that belong to the transaction.
        self.connection = session.connection()
        self._runs: dict[str, OpenRun] = {}
        self._attempts: dict[tuple[str, int, int], OpenAttempt] = {}
        #: In the order of their changes.
        self._changed_runs: dict[str, OpenRun] = {}
        self._changed_attempts: dict[tuple[str, int, int, int], OpenAttempt] = {}

    def read(self, places: Collection[Place | Event]) -> None:
        """Get to know the runs and attempts at these places; their tasks are locked already."""
        runs = {str(place.run) for place in places}
        parts = {place.part for place in places}
        names: dict[str, str | int] = {f"run_{n}": run for n, run in enumerate(runs)}
        names |= {f"part_{n}": part for n, part in enumerate(parts)}
        for row in self.connection.execute(_latest(len(runs), len(parts)), names):
            self._take(row)

    def read_run(self, run: str) -> OpenRun | None:
        """The run itself, if it is open; its task is locked already."""
        found = self.connection.execute(_latest(1, 1), {"run_0": run, "part_0": 0}).first()
        if found is None:
            return None
        self._take(found)
        return self._runs[run]

    def _take(self, row: Row[Any]) -> None:
        run, attempt = row[: len(_OF_RUN)], row[len(_OF_RUN) :]
        self._runs.setdefault(run[0], OpenRun(*run))
        if attempt[0] is not None:
            found = OpenAttempt(*attempt)
            self._attempts[found.run_id, found.index, found.part] = found

    def run(self, place: Place | Event) -> OpenRun | None:
        """The run of this place, if it is still open."""
        run = self._runs.get(str(place.run))
        if run is None or run.task_id != place.task or run.state is not RunState.OPEN:
            return None
        return run

    def attempt(self, place: Place | Event) -> OpenAttempt | None:
        """The attempt that news are about; None if they are old.

        A later attempt than the one that we know takes its place: replicas decide about those.
        """
        key = (str(place.run), place.index, place.part)
        present = self._attempts.get(key)
        if present is None or present.state not in LIVE or place.attempt < present.attempt:
            return None
        if place.attempt > present.attempt:
            present = self._attempts[key] = self._following(present, place.attempt)
        return present

    def _following(self, present: OpenAttempt, number: int) -> OpenAttempt:
        """The later attempt that takes the place of one of which nothing is expected any more."""
        present.close(AttemptState.SUPERSEDED)
        self.change(present)
        following = OpenAttempt(
            run_id=present.run_id,
            index=present.index,
            part=present.part,
            attempt=number,
            step=present.step,
            state=AttemptState.QUEUED,
            command=present.run_stage.model_copy(update={"attempt": number}).to_json(),
            queue=present.queue,
            user_id=present.user_id,
            rank=present.rank,
            turn=present.turn,
        )
        self.connection.execute(
            _NEW_ATTEMPT,
            {
                "run_id": following.run_id,
                "position": following.index,
                "part": following.part,
                "attempt": following.attempt,
                "step": following.step,
                "state": following.state,
                "command": following.command,
                "queue": following.queue,
                "user_id": following.user_id,
                "rank": following.rank,
                "turn": following.turn,
            },
        )
        return following

    def change(self, *changed: OpenRun | OpenAttempt) -> None:
        """These are not any more what they were."""
        for each in changed:
            if isinstance(each, OpenRun):
                self._changed_runs[each.id] = each
            else:
                key = (each.run_id, each.index, each.part, each.attempt)
                self._changed_attempts[key] = each

    def end(self, run: OpenRun, state: RunState, task_state: str) -> None:
        """Close the run, and have others told."""
        run.end(state, task_state)
        self.change(run)
        self.connection.execute(_FOLLOW_UP, run_ended(run))
        self.session.info.setdefault(ENDED, []).append(run)

    def give_up_attempts(self, run: OpenRun, state: AttemptState) -> None:
        """Mark all attempts of the run from which nothing is expected any more."""
        # What has just ended has an end of its own.
        self.write()
        self.connection.execute(_GIVE_UP, {"run": run.id, "end": state, "moment": now()})
        for attempt in self._attempts.values():
            if attempt.run_id == run.id and attempt.state in LIVE:
                attempt.close(state)

    def write(self) -> None:
        """Send the database all that was changed since the last time."""
        runs, self._changed_runs = list(self._changed_runs.values()), {}
        attempts, self._changed_attempts = list(self._changed_attempts.values()), {}
        if runs:
            self.connection.execute(_RUN, [_run_values(run) for run in runs])
        for statement in (_TASK, _TASK_WITH_CONFIG, _TASK_WITH_FIELD):
            if tasks := [_task_values(run) for run in runs if _task_write(run) is statement]:
                self.connection.execute(statement, tasks)
        if attempts:
            self.connection.execute(_ATTEMPT, [_attempt_values(attempt) for attempt in attempts])


def _run_values(run: OpenRun) -> Mapping[str, Any]:
    return {
        _KEY.format("id"): run.id,
        "state": run.state,
        "position": run.position,
        "parts": run.parts,
        "reasons": run.reasons,
        "ended": run.ended,
    }


def _task_write(run: OpenRun) -> Update:
    if run.record is None:
        return _TASK
    return _TASK_WITH_FIELD if run.locates else _TASK_WITH_CONFIG


def _task_values(run: OpenRun) -> Mapping[str, Any]:
    ended_well = run.state in (RunState.DONE, RunState.DEGRADED)
    values = {
        _KEY.format("id"): run.task_id,
        "state": run.task_state,
        "celery_id": run.id if run.state is RunState.OPEN else None,
        "reasons": run.reasons,
        "completed": run.ended if ended_well else None,
    }
    if run.record is None:
        return values
    place = run.record.field
    return values | {
        "config": run.record.model_dump(mode="json", include={"config"})["config"],
        "ra": place.ra if place else None,
        "dec": place.dec if place else None,
        "radius": place.radius if place else None,
        "pixel_scale": place.pixel_scale if place else None,
        "moc": place.moc if place else None,
    }


def _attempt_values(attempt: OpenAttempt) -> Mapping[str, Any]:
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
