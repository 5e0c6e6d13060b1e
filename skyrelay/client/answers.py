"""What does the server answer, as typed objects?"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from skyrelay import task_states


class Answer(BaseModel):
    """An answer; fields of later versions are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Task(Answer):
    """A task. From `Client.create_task` and `Client.tasks` only some fields are set."""

    id: int
    original_name: str
    title: str = ""
    state: str = ""
    user: str = ""
    groups: list[str] = []
    created: str | None = None
    modified: str | None = None
    completed: str | None = None
    config: dict[str, Any] = {}
    celery_id: str | None = None
    path: str = ""
    warnings: list[str] = []


class TaskActed(Answer):
    """What came of an action on one of many tasks: ``status`` is success or error."""

    id: int
    status: str
    error: str = ""
    celery_id: str | None = None


class TaskState(Answer):
    """Where a task stands.

    ``progress`` is the fraction of the whole run, ``fraction`` that of the present stage.
    ``error`` says why the last run failed, ``degraded`` what is missing from its results.
    """

    id: int
    state: str
    celery_id: str | None
    progress: float | None = None
    step: str = ""
    stage: str = ""
    fraction: float | None = None
    doing: str = ""
    error: str = ""
    degraded: list[str] = []

    @property
    def running(self) -> bool:
        """Whether the task has an open run."""
        return self.celery_id is not None

    @property
    def failed(self) -> bool:
        """Whether the last run failed."""
        return not self.running and task_states.is_failed(self.state)


class Started(Answer):
    """A run that has begun."""

    id: int
    state: str
    celery_id: str
    steps: list[str]
    warnings: list[str] = []


class Attempt(Answer):
    """One try of one stage."""

    attempt: int
    state: str
    worker: str
    queued: str | None
    started: str | None
    finished: str | None
    seconds: float | None
    fraction: float
    doing: str
    reasons: list[str]


class StageReport(Answer):
    """One stage of a run. ``values``: name -> {value, error, unit, doc}."""

    step: str
    title: str
    state: str
    seconds: float | None
    reasons: list[str]
    values: dict[str, dict[str, Any]]
    attempts: list[Attempt]


class Run(Answer):
    """One processing request; its state is open, done, degraded, failed or cancelled."""

    id: str
    state: str
    user: str | None
    steps: list[str]
    created: str
    ended: str | None
    seconds: float
    reasons: list[str]
    stages: list[StageReport]


class FileEntry(Answer):
    """A file or folder of a task."""

    name: str
    path: str
    size: int
    modified: str
    is_dir: bool


class Results(Answer):
    """What was measured in a task; see ``GET /api/tasks/{id}/results/``."""

    id: int
    state: str
    celery_id: str | None = None
    filter: str | None
    mjd: float | None
    zero_point: dict[str, Any] | None
    mag_limit: dict[str, Any] | None
    fwhm_arcsec: dict[str, Any] | None
    targets: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    stages: dict[str, Any]


class LightCurvePoint(Answer):
    """One point of a light curve: ``time`` is MJD; an upper limit if not ``detected``."""

    time: float | None
    filter: str
    mag: float | None
    mag_error: float | None
    mag_limit: float | None
    detected: bool
    source: str
    ra: float
    dec: float
    distance: float
    task: int


class Intake(Answer):
    """A batch, or a folder that is watched; ``counts``: its files by state."""

    id: int
    folder: str
    active: bool
    counts: dict[str, int]
    files: list[dict[str, Any]] = []


class Webhook(Answer):
    """An address that is called; ``secret`` only where it is made or read by itself."""

    id: int
    url: str
    events: list[str]
    active: bool
    secret: str | None = None


class Delivery(Answer):
    """One event for one webhook; ``state`` is pending, delivered or failed."""

    id: int
    event: str
    state: str
    created: str
    due: str | None
    tries: list[dict[str, Any]]
    last_error: str
    body: dict[str, Any]


class Preset(Answer):
    """A configuration, and files, that a task may begin with."""

    id: int
    name: str
    config: dict[str, Any]
    files: list[str] = []
    warnings: list[str] = []


class QueueEntry(Answer):
    """A run as STDWeb's queue shows it; the task only where we may see it."""

    id: str
    state: str
    name: str = ""
    task_id: int | None = None
    task_name: str = ""


class User(Answer):
    """A user; administrators see more fields."""

    id: int
    username: str
    first_name: str
    last_name: str
    email: str
    is_staff: bool
    permissions: list[str]
    groups: list[str] = []


class Token(Answer):
    """A token; ``token`` is its key, which is told only when it is made."""

    id: int
    name: str
    created: str
    expires: str | None
    token: str = ""


class Group(Answer):
    """A group: how many members it has, in a list, or which."""

    id: int
    name: str
    members: int | list[str]


class AuditEntry(Answer):
    """A change: when, by whom, from where."""

    id: int
    timestamp: str
    user: str | None
    action: str
    task: int | None
    ip: str
    details: dict[str, Any]


class DeadLetter(Answer):
    """A message on which nobody could work."""

    id: int
    died: str
    meant_for: str
    reason: str
    task: int | None
    run: str | None
    body: str
    handled: str
