"""In which states can a task be? Their names are STDWeb's; the stages add theirs."""

from __future__ import annotations

#: It has no image yet.
INITIAL = "initial"
#: It has an image on which nothing was done.
UPLOADED = "uploaded"
#: It was copied from another one, without what was made of the image.
DUPLICATED = "duplicated"
#: A run of it is open.
RUNNING = "running"
#: Its last run was cancelled.
CANCELLED = "cancelled"

_FAILED = "_failed"


def failed(name: str) -> str:
    """The state after the failure of what goes by this name in states."""
    return name + _FAILED


def is_failed(state: str) -> bool:
    """Whether the last run failed."""
    return state.endswith(_FAILED)
