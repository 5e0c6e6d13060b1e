"""What do the gateway and the stages say to each other?

The wire contract: JSON objects with ids and paths only, never data. ``version`` names the
contract; a reader that does not know it refuses the message instead of guessing.
Commands are imperative, events are in the past tense.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: Version of the contract that this code speaks.
VERSION: Literal[1] = 1

#: The numbers that name an attempt have no more bits than this.
COUNT_BITS = 20
_BEYOND = 1 << COUNT_BITS


class UnreadableMessage(ValueError):
    """The message does not follow the contract that this code speaks."""


class Lane(StrEnum):
    """Which of a stage's queues a command waits in."""

    NORMAL = "normal"
    #: Images so large that only replicas with much memory should take them.
    LARGE = "large"


class Outcome(StrEnum):
    """How an attempt of a stage ended."""

    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _now() -> datetime:
    return datetime.now(UTC)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION
    run: UUID
    task: int
    sent: datetime = Field(default_factory=_now)

    def to_json(self) -> str:
        """The message as it goes over the wire."""
        return self.model_dump_json()


class _OfAttempt(_Message):
    """What is about one attempt.

    A stage may be split: then ``part`` 0 is its preparation, 1 to n are its parts, and n + 1 joins
    them. A stage that is not split is part 0.
    """

    index: int = Field(
        ge=0, lt=_BEYOND, description="place of the stage in the run's chain, from 0"
    )
    step: str
    part: int = Field(
        default=0, ge=0, lt=_BEYOND, description="which part of a split stage; 0: the whole"
    )
    attempt: int = Field(default=1, ge=1, lt=_BEYOND)


class RunStage(_OfAttempt):
    """Command: do one stage of a run, or a part of one."""

    kind: Literal["RunStage"] = "RunStage"
    parts: int = Field(default=0, ge=0, description="into how many the stage was split; 0: not")
    lane: Lane = Lane.NORMAL
    config: str = Field(description="path of the stage's configuration, relative to the store")

    @property
    def joins(self) -> bool:
        """Whether it asks for the parts of a split stage to be put together."""
        return self.part > self.parts


class KillRun(_Message):
    """Command: stop whatever runs for this run, now."""

    kind: Literal["KillRun"] = "KillRun"
    reason: str = "cancelled"


class _StageEvent(_OfAttempt):
    worker: str = Field(description="which replica speaks")


class StageStarted(_StageEvent):
    """Event: an attempt has been claimed and its science begins."""

    kind: Literal["StageStarted"] = "StageStarted"
    started: datetime


class StageProgressed(_StageEvent):
    """Event: an attempt has come this far; also said again as a sign of life."""

    kind: Literal["StageProgressed"] = "StageProgressed"
    fraction: float = Field(ge=0.0, le=1.0)
    doing: str


class StageFinished(_StageEvent):
    """Event: an attempt has ended, and this is how."""

    kind: Literal["StageFinished"] = "StageFinished"
    outcome: Outcome
    parts: int = Field(
        default=0, ge=0, description="into how many the stage was split; 0: its result is whole"
    )
    reasons: tuple[str, ...] = Field(
        default=(), description="why it failed, or what is missing from a degraded result"
    )
    started: datetime
    finished: datetime
    record: str | None = Field(
        default=None,
        description="path, relative to the store, of the attempt's record: configuration, "
        "field and measured values",
    )


Event: TypeAlias = StageStarted | StageProgressed | StageFinished
Message: TypeAlias = Annotated[
    RunStage | KillRun | StageStarted | StageProgressed | StageFinished,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def parse(body: str | bytes | dict[str, Any]) -> Message:
    """The message that ``body`` holds: JSON text, or the object decoded from it.

    Raises
    ------
    UnreadableMessage
        If it is no JSON, of another version, of an unknown kind, or does not fit its kind.
    """
    try:
        if isinstance(body, str | bytes):
            return _ADAPTER.validate_json(body)
        return _ADAPTER.validate_python(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "message"
        raise UnreadableMessage(f"{place}: {first['msg']}") from error


class Place(BaseModel):
    """Which attempt a message is about, as far as one of another version can say it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: UUID
    task: int
    index: int = 0
    step: str = ""
    part: int = 0
    attempt: int = 1


def place_in(body: str | bytes) -> Place | None:
    """The attempt that an unreadable message is about; None if it does not say."""
    try:
        return Place.model_validate_json(body)
    except ValidationError:
        return None
