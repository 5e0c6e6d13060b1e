"""What does the orchestration know of a run while it is open, and of its attempts?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.models import AttemptState, RunState, now
from skyrelay.messages import RunStage
from skyrelay.records import AttemptRecord
from skyrelay.stages import stage_of


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
    def key(self) -> tuple[str, int, int, int]:
        """The primary key of its row."""
        return self.run_id, self.index, self.part, self.attempt

    @property
    def run_stage(self) -> RunStage:
        """Its command, as it is sent."""
        return RunStage.model_validate_json(self.command)

    def close(self, state: AttemptState, reasons: Iterable[str] = ()) -> None:
        """Nothing more is expected of it."""
        self.state = state
        self.finished = now()
        self.reasons = list(reasons)
