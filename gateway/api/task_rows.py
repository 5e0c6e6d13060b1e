"""What does a list say of a task whose place on the sky matters, too?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import JSON, ColumnElement, func, select, type_coerce
from sqlalchemy.orm import Session

from gateway.api import schemas, serializers
from gateway.models import Group, Task, User, task_groups

#: Characters of a target, or a filter, in a list.
_LONGEST = 500

Degrees = Annotated[float | None, Field(description="deg", examples=[0.3])]


class Placed(schemas.TaskFields):
    """A task in a list, with its groups and what is known of its image."""

    groups: schemas.Groups
    ra: Annotated[float | None, Field(description="Of the centre, deg, ICRS.", examples=[202.47])]
    dec: Annotated[float | None, Field(description="Of the centre, deg, ICRS.", examples=[47.2])]
    radius: Degrees
    pixel_scale: Annotated[float | None, Field(description="deg", examples=[0.00028])]
    target: Annotated[str, Field(examples=["SN 2011dh"])]
    filter: Annotated[str, Field(examples=["r"])]
    mag_limit: Annotated[float | None, Field(description="mag", examples=[20.5])]


@schemas.exact
class TaskPlaced(Placed):
    """A task in a list, with its groups and what is known of its image."""


def _of_config(name: str) -> ColumnElement[str]:
    """A value of the configuration as a text: the whole may be long."""
    return func.substr(type_coerce(Task.config, JSON)[name].as_string(), 1, _LONGEST).label(name)


_SELECTED = (
    select(
        *(Task.id, Task.original_name, Task.title, Task.state, Task.created, Task.modified),
        *(Task.ra, Task.dec, Task.radius, Task.pixel_scale),
        *map(_of_config, ("target", "filter", "mag_limit")),
        User.username.label("user"),
    )
    .select_from(Task)
    .join(User, User.id == Task.user_id)
)


def placed_tasks(session: Session, numbers: Sequence[int]) -> list[Placed]:
    """The tasks of these numbers, newest first."""
    chosen = Task.id.in_(numbers)
    found = session.execute(_SELECTED.where(chosen).order_by(Task.id.desc())).all()
    groups = _groups(session, numbers)
    return [_placed(row._mapping, groups.get(row.id, [])) for row in found]


def _groups(session: Session, numbers: Sequence[int]) -> dict[int, list[str]]:
    rows = session.execute(
        select(task_groups.c.task_id, Group.name)
        .join(Group, Group.id == task_groups.c.group_id)
        .where(task_groups.c.task_id.in_(numbers))
        .order_by(Group.name)
    )
    found: dict[int, list[str]] = {}
    for task_id, name in rows:
        found.setdefault(task_id, []).append(name)
    return found


def _placed(row: Any, groups: list[str]) -> Placed:
    return {
        **serializers.task_in_list(row),
        "groups": groups,
        "ra": row["ra"],
        "dec": row["dec"],
        "radius": row["radius"],
        "pixel_scale": row["pixel_scale"],
        "target": row["target"] or "",
        "filter": row["filter"] or "",
        "mag_limit": _number(row["mag_limit"]),
    }


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
