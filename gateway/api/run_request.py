"""Which run does a client ask for?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from gateway.api.access import get_task
from gateway.api.body import Body
from gateway.api.errors import ApiError, invalid, refused
from gateway.current import gateway
from gateway.permissions import Right
from skyrelay.errors import Permanent
from skyrelay.stages import PHOTOMETRY, SIMPLE_TRANSIENTS, STACK, STAGES
from skyrelay.store.inputs import check_catalogue, check_input, task_of

_STEPS = frozenset(stage.step for stage in STAGES)
#: A chain as long as this is a mistake, or malice.
_MOST_STEPS = 100
_MOST_PRIORITY = 10
#: Characters of a wrong one that are said again.
_LONGEST_STEP = 100


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
            raise refused(
                400,
                f"Invalid step: {str(step)[:_LONGEST_STEP]}",
                advice=f"The steps are {', '.join(stage.step for stage in STAGES)}.",
            )
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
    """The files that the steps are to read are those that the user may have.

    Raises
    ------
    ApiError
        400 if one lies outside the data folder and all tasks; 403 or 404 if it is of another task
        that the user may not see, or that does not exist. All say which.
    """
    settings = gateway().settings
    if STACK.step in steps:
        for name in map(str, _listed(config, "stack_filenames")):
            with _about("stack_filenames"):
                check_input(name, settings)
            _check_task(session, "stack_filenames", task_of(name, settings))
    if PHOTOMETRY.step in steps and config.get("cat_file"):
        with _about("cat_file"):
            check_catalogue(str(config["cat_file"]), settings)
    if SIMPLE_TRANSIENTS.step in steps:
        for number in _listed(config, "simple_others"):
            _check_task(session, "simple_others", number)


@contextmanager
def _about(parameter: str) -> Iterator[None]:
    """What is refused in here is a value of this parameter."""
    try:
        yield
    except Permanent as error:
        raise invalid(**{parameter: str(error)}) from error


def _check_task(session: Session, parameter: str, task_id: int | None) -> None:
    if task_id is None:
        return
    try:
        get_task(session, task_id, Right.VIEW)
    except ApiError as error:
        why = "does not exist" if error.status == 404 else "is not shared with you"
        raise ApiError(
            error.status, error.body | {parameter: [f"Task {task_id} {why}."]}
        ) from error


def _listed(config: dict[str, Any], name: str) -> list[Any]:
    return config.get(name) or []
