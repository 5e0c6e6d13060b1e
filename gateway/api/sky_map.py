"""What does a map of the sky show: where the tasks' images lie?"""

from __future__ import annotations

from typing import Annotated, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from typing_extensions import TypedDict

from gateway.api import query, schemas
from gateway.api.tasks import TaskFilters, wanted
from gateway.current import gateway
from gateway.models import Task
from gateway.openapi import documented

blueprint = Blueprint("sky_map", __name__)

_USUAL, _MOST = 500, 5000
#: A coverage map is some kilobytes.
_MOST_MAPS = 500


class _MapQuery(TaskFilters, total=False):
    include_moc: Annotated[bool, Field(description="Coverage maps, too.", examples=[True])]
    limit: schemas.Limit
    before: Annotated[int, Field(description="The `next` of the page before.", examples=[43])]


class _OnMap(TypedDict):
    id: schemas.TaskId
    original_name: schemas.Name
    title: schemas.Title
    state: schemas.State
    ra: Annotated[float, Field(description="Of the centre, deg, ICRS.", examples=[202.47])]
    dec: Annotated[float, Field(description="Of the centre, deg, ICRS.", examples=[47.2])]
    radius: Annotated[float | None, Field(description="deg", examples=[0.3])]
    moc: NotRequired[
        Annotated[str | None, Field(description="A MOC as text.", examples=["5/8 11 6/30-32"])]
    ]


class _Map(TypedDict):
    next: Annotated[int | None, Field(description="`before` of the next page.", examples=[None])]
    results: list[_OnMap]


@blueprint.get("/skymap/")
@documented({200: _Map}, query=_MapQuery, errors=(400,))
def sky_map() -> ResponseReturnValue:
    """The tasks of the list that have a place on the sky, newest first, with that place."""
    maps = query.flag("include_moc")
    limit = query.integer("limit", least=1, most=_MOST_MAPS if maps else _MOST, default=_USUAL)
    columns = [Task.id, Task.original_name, Task.title, Task.state, Task.ra, Task.dec, Task.radius]
    with gateway().database.reading() as session:
        located = (Task.ra.is_not(None), Task.dec.is_not(None))
        chosen = select(Task.id).where(wanted(session), *located)
        if (before := query.before()) is not None:
            chosen = chosen.where(Task.id < before)
        chosen = chosen.order_by(Task.id.desc()).limit(limit + 1)
        found = session.execute(
            select(*columns, *([Task.moc] if maps else []))
            .where(Task.id.in_(chosen))
            .order_by(Task.id.desc())
        ).all()
    results = [dict(row._mapping) for row in found[:limit]]
    return jsonify({"next": results[-1]["id"] if len(found) > limit else None, "results": results})
