"""What does a worker process say to its replica?

JSON objects, one per line, on a socket of their own: the science may print what it likes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from skyrelay.episodes import Episode
from skyrelay.messages import Outcome, RunStage
from skyrelay.records import AttemptRecord


class _Line(BaseModel):
    """``attempt``: run, index, part and number of the attempt that the line is about."""

    model_config = ConfigDict(frozen=True)

    attempt: tuple[UUID, int, int, int] | None = None

    def to_line(self, command: RunStage | None = None) -> bytes:
        """The object as it goes over the socket, said about ``command``."""
        about = self.model_copy(update={"attempt": attempt_of(command) if command else None})
        return about.model_dump_json().encode() + b"\n"

    def is_about(self, command: RunStage) -> bool:
        """Whether it was said about this command, and not about an earlier one."""
        return self.attempt == attempt_of(command)


def attempt_of(command: RunStage) -> tuple[UUID, int, int, int]:
    """What tells the attempt that ``command`` asks for from all others."""
    return command.run, command.index, command.part, command.attempt


class Ready(_Line):
    """The worker is warm; its group has a guard with this process id."""

    kind: Literal["ready"] = "ready"
    guard: int


class Started(_Line):
    """The attempt is claimed, and its science begins; it may take so many seconds."""

    kind: Literal["started"] = "started"
    started: datetime
    time_limit: float


class Alive(_Line):
    """The worker's process has not come to a standstill, whatever its science says."""

    kind: Literal["alive"] = "alive"


class Progressed(_Line):
    """The science has come this far."""

    kind: Literal["progressed"] = "progressed"
    fraction: float
    doing: str


class Noted(_Line):
    """The science has waited for a sky service or an external program."""

    kind: Literal["noted"] = "noted"
    episode: Episode


class Ended(_Line):
    """The attempt has ended, now or on an earlier delivery; its record is in the store.

    ``record`` is None where even the record could not be written. ``parts``: into how many the
    stage was split; 0 if its result is whole.
    """

    kind: Literal["ended"] = "ended"
    outcome: Outcome
    parts: int = 0
    reasons: tuple[str, ...]
    started: datetime
    finished: datetime
    record: str | None

    @classmethod
    def of(cls, record: AttemptRecord, key: str | None) -> Ended:
        """What ``record`` says."""
        return cls(
            outcome=record.outcome,
            parts=record.parts,
            reasons=record.reasons,
            started=record.started,
            finished=record.finished,
            record=key,
        )


class TryAgain(_Line):
    """The attempt is given up; the next one may succeed."""

    kind: Literal["try_again"] = "try_again"
    reason: str


class Busy(_Line):
    """Another worker has the claim of this attempt, or had it last: the command comes again."""

    kind: Literal["busy"] = "busy"


class Away(_Line):
    """Nothing can be said of the attempt or done for it: there is no store where it should be."""

    kind: Literal["away"] = "away"
    reason: str


class Over(_Line):
    """The run was cancelled or has ended: nothing was published."""

    kind: Literal["over"] = "over"


class Unknown(_Line):
    """Nothing of the run is in the store: it was over long ago, or the store is another.

    Only the gateway knows which; ``reason`` says what is wrong if its run is still open.
    """

    kind: Literal["unknown"] = "unknown"
    reason: str


class Broken(_Line):
    """The worker met an error that it cannot handle, and ends."""

    kind: Literal["broken"] = "broken"
    reason: str


#: How the work on a command ended.
Answer: TypeAlias = Ended | TryAgain | Busy | Away | Over | Unknown
Line: TypeAlias = Annotated[
    Ready | Started | Alive | Progressed | Noted | Answer | Broken,
    Field(discriminator="kind"),
]

LINE: TypeAdapter[Line] = TypeAdapter(Line)
