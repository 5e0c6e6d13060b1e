"""Which run does a client ask for?"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from gateway.api.access import get_task
from gateway.api.body import Body
from gateway.api.errors import refused
from gateway.permissions import Right
from skyrelay.stages import STACK, STAGES
from skyrelay.store.inputs import task_of

_STEPS = frozenset(stage.step for stage in STAGES)
#: A chain as long as this is a mistake, or malice.
_MOST_STEPS = 100
_MOST_PRIORITY = 10


def steps_of(body: Body) -> list[str]:
    """The steps that are asked for, in their order; none if the client names none.

    Raises
    ------
    ApiError
        400 if one of them is none, or there are too many.
    """
    given = body.fields.get("steps")
    steps = given if isinstance(given, list) else [given] if given else []
    for step in steps:
        if not isinstance(step, str) or step not in _STEPS:
            raise refused(400, f"Invalid step: {step}")
    if len(steps) > _MOST_STEPS:
        raise refused(400, f"Too many steps: {len(steps)}, at most {_MOST_STEPS} are allowed")
    return steps


def priority_of(body: Body) -> int:
    """How far the run goes before others that wait; 0 if the client says nothing."""
    priority = body.integer("priority") or 0
    if abs(priority) > _MOST_PRIORITY:
        raise refused(400, f"priority must lie between {-_MOST_PRIORITY} and {_MOST_PRIORITY}")
    return priority


def check_inputs(session: Session, steps: list[str], config: dict[str, Any]) -> None:
    """The images that are to be stacked may be those of tasks that the user may see."""
    if STACK.step not in steps:
        return
    names = config.get("stack_filenames")
    for name in names if isinstance(names, list) else []:
        task_id = task_of(str(name))
        if task_id is not None:
            get_task(session, task_id, Right.VIEW)
