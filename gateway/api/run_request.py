"""Which run does a client ask for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from gateway.api.access import get_task
from gateway.api.body import Body
from gateway.api.errors import refused
from gateway.permissions import Right
from skyrelay.stages import SIMPLE_TRANSIENTS, STACK, STAGES
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


def check_inputs(session: Session, steps: Sequence[str], config: dict[str, Any]) -> None:
    """The other tasks whose files the steps are to read are those that the user may see.

    Raises
    ------
    ApiError
        403 or 404 if one of them is not.
    """
    others: list[int | None] = []
    if STACK.step in steps:
        others += [task_of(str(name)) for name in _listed(config, "stack_filenames")]
    if SIMPLE_TRANSIENTS.step in steps:
        others += _listed(config, "simple_others")
    for task_id in others:
        if task_id is not None:
            get_task(session, task_id, Right.VIEW)


def _listed(config: dict[str, Any], name: str) -> list[Any]:
    return config.get(name) or []
