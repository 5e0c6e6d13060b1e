"""What do the answers of the API look like: which fields, of which types?

The serializers return these, the document of the API describes them. Every field has an example.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

Moment = Annotated[
    str, Field(description="ISO 8601, in UTC.", examples=["2026-03-01T21:14:05.123456Z"])
]
Later = Annotated[Moment | None, Field(examples=["2026-03-01T21:16:45.654321Z"])]
TaskId = Annotated[int, Field(description="Number of the task.", examples=[42])]
Name = Annotated[str, Field(description="Name of the image's file.", examples=["m51_r.fits"])]
Title = Annotated[str, Field(examples=["M51 in r"])]
State = Annotated[str, Field(description="See docs/parity.md.", examples=["photometry_done"])]
Username = Annotated[str, Field(examples=["alice"])]
Groups = Annotated[list[str], Field(description="Shared with these.", examples=[["observers"]])]
Config = Annotated[dict[str, Any], Field(examples=[{"target": "SN 2011dh", "sn": 5.0}])]
RunId = Annotated[
    str,
    Field(description="Id of the run.", examples=["0b7a5e3e-0a53-4d3f-9a8e-5b0c1c6f2f11"]),
]
OpenRun = Annotated[
    RunId | None, Field(description="The open run; null while the task is not processed.")
]
Steps = Annotated[list[str], Field(examples=[["inspect", "photometry"]])]
Priority = Annotated[
    int, Field(ge=-10, le=10, description="Runs of a higher one go first.", examples=[0])
]
Step = Annotated[str, Field(examples=["photometry"])]
StageTitle = Annotated[str, Field(examples=["Photometry"])]
Fraction = Annotated[float, Field(ge=0, le=1, examples=[0.4])]
Doing = Annotated[str, Field(description="For people.", examples=["extracting objects"])]
Reasons = Annotated[list[str], Field(examples=[["The image holds no stars."]])]
Seconds = Annotated[float | None, Field(examples=[12.7])]
Warnings = Annotated[
    list[str],
    Field(description="Only if not empty.", examples=[["snn: no stage reads this parameter"]]),
]


Limit = Annotated[int, Field(ge=1, description="At most so many.", examples=[50])]
Offset = Annotated[int, Field(ge=0, description="Leave out so many.", examples=[0])]
NextPage = Annotated[str | None, Field(description="Address of the next page.", examples=[None])]
PreviousPage = Annotated[str | None, Field(description="Likewise.", examples=[None])]
Mjd = Annotated[str, Field(description="MJD, or ISO 8601 in UTC.", examples=["2026-01-31T20:00"])]
Url = Annotated[str, Field(examples=["https://example.org/hook"])]

#: An answer has its fields and no others.
exact = with_config(ConfigDict(extra="forbid"))


class TaskFields(TypedDict):
    """What every list says of a task."""

    id: TaskId
    original_name: Name
    title: Title
    state: State
    user: Username
    created: Moment
    modified: Moment


@exact
class TaskInList(TaskFields):
    """A task in a list."""


class Page(TypedDict):
    """What is said around a page of a list."""

    count: Annotated[int, Field(description="On all pages; of results: tasks.", examples=[1])]
    next: NextPage
    previous: PreviousPage


@exact
class TaskPage(Page):
    """A page of the list of tasks."""

    results: list[TaskInList]


@exact
class TaskCreated(TypedDict):
    """What is said of a task that has just been made."""

    id: TaskId
    original_name: Name
    title: Title
    config: Config
    groups: Groups
    celery_id: NotRequired[Annotated[RunId, Field(description="If steps were given.")]]
    warnings: NotRequired[Warnings]


@exact
class TaskInFull(TypedDict):
    """All of a task."""

    id: TaskId
    original_name: Name
    title: Title
    state: State
    user: Username
    groups: Groups
    created: Moment
    modified: Moment
    completed: Later
    config: Config
    celery_id: OpenRun
    path: Annotated[str, Field(description="Below the folder of tasks.", examples=["42"])]
    warnings: NotRequired[Warnings]


class Progress(TypedDict, total=False):
    """How far a run is."""

    progress: Annotated[Fraction, Field(description="Of the whole run.")]
    step: Step
    stage: StageTitle
    fraction: Annotated[Fraction, Field(description="Of the present stage.")]
    doing: Doing
    parts: Annotated[int, Field(description="Of a stage that was split.", examples=[4])]
    parts_done: Annotated[int, Field(examples=[1])]


@exact
class TaskState(Progress):
    """Where a task stands; how far, while it is processed."""

    id: TaskId
    state: State
    celery_id: OpenRun
    error: NotRequired[
        Annotated[str, Field(description="Why it failed.", examples=["There are no stars."])]
    ]
    degraded: NotRequired[Annotated[Reasons, Field(description="What the results lack.")]]


@exact
class Attempt(TypedDict):
    """One try of one stage, or of a part of it."""

    part: Annotated[int, Field(description="0 if the stage is not split.", examples=[0])]
    attempt: Annotated[int, Field(examples=[1])]
    state: Annotated[str, Field(examples=["done"])]
    worker: Annotated[str, Field(examples=["photometry@node1:4711"])]
    queued: Moment
    started: Later
    finished: Later
    seconds: Seconds
    fraction: Fraction
    doing: Doing
    reasons: Reasons


@exact
class StageReport(TypedDict):
    """One stage of a run."""

    step: Step
    title: StageTitle
    state: Annotated[str, Field(examples=["done"])]
    seconds: Seconds
    reasons: Reasons
    values: Annotated[
        dict[str, Any],
        Field(
            description="Name to value, error, unit and doc.",
            examples=[{"fwhm": {"value": 3.5, "error": 0.1, "unit": "px", "doc": ""}}],
        ),
    ]
    attempts: list[Attempt]


@exact
class RunReport(TypedDict):
    """One processing request."""

    id: RunId
    state: Annotated[str, Field(description="open, or how it ended.", examples=["done"])]
    user: Annotated[str | None, Field(examples=["alice"])]
    steps: Steps
    priority: Annotated[int, Field(examples=[0])]
    created: Moment
    ended: Later
    seconds: Seconds
    reasons: Reasons
    stages: list[StageReport]


@exact
class PresetAnswer(TypedDict):
    """A preset."""

    id: Annotated[int, Field(examples=[3])]
    name: Annotated[str, Field(examples=["wide field"])]
    config: Config
    files: NotRequired[
        Annotated[list[str], Field(description="For staff.", examples=[["flat.fits"]])]
    ]
    warnings: NotRequired[Warnings]


@exact
class DeadLetterAnswer(TypedDict):
    """A message that was put aside."""

    id: Annotated[int, Field(examples=[7])]
    died: Moment
    meant_for: Annotated[str, Field(examples=["photometry"])]
    reason: Annotated[str, Field(examples=["its replica died 5 times"])]
    task: Annotated[int | None, Field(examples=[42])]
    run: Annotated[RunId | None, Field()]
    body: Annotated[str, Field(examples=["{}"])]
    handled: Annotated[str, Field(description="Empty, replayed or dropped.", examples=[""])]
    handled_at: Later
    handled_by: Annotated[str, Field(examples=[""])]


@exact
class FileEntry(TypedDict):
    """A file or folder in a listing."""

    name: Annotated[str, Field(examples=["image.fits"])]
    path: Annotated[str, Field(description="Below the listed root.", examples=["image.fits"])]
    size: Annotated[int, Field(description="Bytes.", examples=[8_392_320])]
    modified: Moment
    is_dir: Annotated[bool, Field(examples=[False])]
