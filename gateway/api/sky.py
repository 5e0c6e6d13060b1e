"""What is known of a place on the sky: its light curve, and who has looked there?"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Annotated, Any, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement
from typing_extensions import TypedDict

from gateway.api import query, schemas, serializers, tabular
from gateway.api.auth import current_user, gateway
from gateway.api.body import read_body
from gateway.api.errors import invalid, refused
from gateway.measurements import columns, coverage, lightcurve
from gateway.models import Source, Task
from gateway.openapi import documented
from gateway.permissions import visible_to

blueprint = Blueprint("sky", __name__)

#: Arcsec.
_USUAL_RADIUS = 3.0
_USUAL_TASKS, _MOST_TASKS = 100, 1000
#: Characters of a map in its text form.
_LONGEST_MOC = 200_000
#: The finest order of a map.
_FINEST = 29
_LIGHT_CURVE_FORMATS = ("json", "votable", "csv", "parquet")


_Ra = Annotated[float, Field(ge=-360, le=360, description="deg, ICRS", examples=[202.47])]
_Dec = Annotated[float, Field(ge=-90, le=90, description="deg, ICRS", examples=[47.2])]
_Radius = Annotated[float, Field(description="arcsec", examples=[_USUAL_RADIUS])]
_Moc = Annotated[str, Field(description="A MOC as text or JSON.", examples=["5/8 11 6/30-32"])]


class _LightCurveQuery(TypedDict):
    ra: _Ra
    dec: _Dec
    radius: NotRequired[_Radius]
    source: NotRequired[
        Annotated[
            str, Field(description=f"Some of {', '.join(Source)}.", examples=["objects,targets"])
        ]
    ]
    filter: NotRequired[Annotated[str, Field(description="Some filters.", examples=["g,r"])]]
    after: NotRequired[schemas.Mjd]
    before: NotRequired[schemas.Mjd]
    limits: NotRequired[
        Annotated[bool, Field(description="Of images without it, too.", examples=[True])]
    ]
    format: NotRequired[tabular.Format]


class _LightCurve(TypedDict):
    ra: _Ra
    dec: _Dec
    radius: _Radius
    count: Annotated[int, Field(examples=[1])]
    results: Annotated[Any, tabular.rows_of(columns.LIGHT_CURVE)]


class _CoverageQuery(TypedDict, total=False):
    ra: _Ra
    dec: _Dec
    moc: _Moc
    limit: schemas.Limit


class _CoverageBody(TypedDict):
    moc: _Moc


class _First(TypedDict, total=False):
    limit: schemas.Limit


class _Covering(TypedDict):
    id: schemas.TaskId
    original_name: schemas.Name
    title: schemas.Title
    state: schemas.State
    created: schemas.Moment
    ra: Annotated[float | None, Field(description="deg", examples=[202.47])]
    dec: Annotated[float | None, Field(description="deg", examples=[47.2])]
    radius: Annotated[float | None, Field(description="deg", examples=[0.3])]
    share: Annotated[
        float, Field(description="Of the map; 1 for a position.", ge=0, examples=[0.25])
    ]


class _Coverage(TypedDict):
    more: Annotated[bool, Field(description="Whether there are more.", examples=[False])]
    results: list[_Covering]


@blueprint.get("/lightcurve/")
@documented({200: tabular.table(_LightCurve)}, query=_LightCurveQuery, errors=(400, 406))
def light_curve() -> ResponseReturnValue:
    """All that was measured at a position, in all tasks that the user may see, by time."""
    form = tabular.wanted_format(_LIGHT_CURVE_FORMATS)
    ra, dec = _position()
    radius = query.number(
        "radius", least=0.01, most=lightcurve.LARGEST_RADIUS, default=_USUAL_RADIUS
    )
    assert radius is not None
    question = lightcurve.Question(
        ra=ra,
        dec=dec,
        radius=radius,
        sources=_sources(),
        filters=[name for name in query.text("filter").split(",") if name],
        after=query.moment("after"),
        before=query.moment("before"),
        limits=query.text("limits") not in ("0", "false", "no", "off"),
    )
    try:
        with gateway().database.reading() as session:
            points = lightcurve.light_curve(session, question, visible_to(current_user()))
    except lightcurve.TooMany:
        raise refused(
            400, f"More than {lightcurve.MOST} measurements lie there: take a smaller radius."
        ) from None
    around = {"ra": ra, "dec": dec, "radius": radius, "count": len(points)}
    return tabular.answer(columns.LIGHT_CURVE, points, form, "lightcurve", around)


@blueprint.get("/coverage/")
@documented({200: _Coverage}, query=_CoverageQuery, errors=(400,))
def covering_tasks() -> ResponseReturnValue:
    """The tasks that cover a position (``ra``, ``dec``), or a part of a map (``moc``)."""
    if text := query.text("moc", _LONGEST_MOC):
        return _covering_map(text)
    ra, dec = _position()
    return _covering_tasks(coverage.touching(ra, dec), coverage.at(ra, dec))


@blueprint.post("/coverage/")
@documented({200: _Coverage}, query=_First, body=_CoverageBody)
def covering_map() -> ResponseReturnValue:
    """The tasks that cover a part of a map that is too long for an address."""
    body = read_body(largest=2 * _LONGEST_MOC, files_too=False)
    return _covering_map(body.text("moc", _LONGEST_MOC))


def _covering_map(text: str) -> ResponseReturnValue:
    moc = _parsed(text)
    return _covering_tasks(coverage.overlapping(moc), coverage.share_of(moc))


def _covering_tasks(condition: ColumnElement[bool], judge: coverage.Judge) -> ResponseReturnValue:
    limit = query.integer("limit", least=1, most=_MOST_TASKS, default=_USUAL_TASKS)
    with gateway().database.reading() as session:
        found = coverage.covering(session, condition, judge, visible_to(current_user()))
        results = [_covering(task, share) for task, share in islice(found, limit + 1)]
    return jsonify({"more": len(results) > limit, "results": results[:limit]})


def _covering(task: Task, share: float) -> dict[str, Any]:
    return {
        "id": task.id,
        "original_name": task.original_name,
        "title": task.title,
        "state": task.state,
        "created": serializers.moment(task.created),
        "ra": task.ra,
        "dec": task.dec,
        "radius": task.radius,
        "share": share,
    }


def _position() -> tuple[float, float]:
    ra = query.number("ra", least=-360, most=360)
    dec = query.number("dec", least=-90, most=90)
    missing = {
        name: "This field is required."
        for name, value in (("ra", ra), ("dec", dec))
        if value is None
    }
    if missing:
        raise invalid(**missing)
    assert ra is not None and dec is not None
    return ra % 360, dec


def _sources() -> list[Source]:
    named = [name for name in query.text("source").split(",") if name]
    try:
        return [Source(name) for name in named]
    except ValueError as error:
        raise invalid(source=f"Take some of {', '.join(Source)}.") from error


def _parsed(text: str) -> Any:
    from mocpy import MOC

    try:
        if text.lstrip().startswith("{"):
            moc = MOC.from_json(json.loads(text))
        else:
            moc = MOC.from_string(text)
    except Exception as error:
        # The library raises many things, and its Rust side some that are no Exception of ours.
        raise invalid(moc="It is no map of the sky (MOC) in text or JSON form.") from error
    if any(int(order) > _FINEST for order in re.findall(r"(\d{1,9})/", text)):
        raise invalid(moc=f"Its orders go beyond {_FINEST}.")
    if moc.empty():
        raise invalid(moc="The map is empty.")
    return moc
