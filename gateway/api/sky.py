"""What is known of a place on the sky: its light curve, and who has looked there?"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Annotated, Any, Literal, NotRequired

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement, and_, true
from typing_extensions import TypedDict

from gateway.api import places, query, schemas, tabular
from gateway.api.body import read_body
from gateway.api.errors import invalid, refused
from gateway.api.task_rows import Placed, placed_tasks
from gateway.api.tasks import TaskFilters, wanted
from gateway.current import gateway
from gateway.measurements import columns, coverage, lightcurve, stdweb
from gateway.models import Source, Task
from gateway.openapi import documented
from gateway.request_limits import REQUEST_LINE

blueprint = Blueprint("sky", __name__)

#: Arcsec.
_USUAL_RADIUS = 3.0
_USUAL_TASKS, _MOST_TASKS = 100, 1000
#: Degrees.
_SMALLEST_CIRCLE, _LARGEST_CIRCLE = 1e-6, 90.0
#: Characters of a map in its text form.
_LONGEST_MOC = 200_000
#: The finest order of a map.
_FINEST = 29
_LIGHT_CURVE_FORMATS = ("json", "votable", "csv", "parquet")


_Ra = Annotated[float, Field(ge=-360, le=360, description="deg, ICRS", examples=[202.47])]
_Dec = Annotated[float, Field(ge=-90, le=90, description="deg, ICRS", examples=[47.2])]
_Radius = Annotated[float, Field(description="arcsec", examples=[_USUAL_RADIUS])]
_Before = Annotated[int, Field(description="The `next` of the page before.", examples=[43])]
_Moc = Annotated[str, Field(description="A MOC as text or JSON.", examples=["5/8 11 6/30-32"])]


class _LightCurveQuery(TaskFilters):
    ra: NotRequired[_Ra]
    dec: NotRequired[_Dec]
    position: NotRequired[Annotated[places.Position, Field(description="Instead of both.")]]
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
    names: NotRequired[
        Annotated[
            Literal["stdweb"],
            Field(description="Columns are called as in STDWeb's table.", examples=["stdweb"]),
        ]
    ]
    format: NotRequired[tabular.Format]


class _LightCurve(TypedDict):
    ra: _Ra
    dec: _Dec
    radius: _Radius
    count: Annotated[int, Field(examples=[1])]
    results: Annotated[Any, tabular.rows_of(columns.LIGHT_CURVE, stdweb.LIGHT_CURVE)]


class _CoverageQuery(TaskFilters, total=False):
    ra: _Ra
    dec: _Dec
    position: Annotated[places.Position, Field(description="Instead of both.")]
    radius: Annotated[float, Field(description="Around the position, deg.", examples=[0.5])]
    moc: Annotated[
        _Moc,
        Field(
            description="A MOC as text or JSON. Method and address together have at most "
            f"{REQUEST_LINE} bytes: send a longer map by POST."
        ),
    ]
    limit: schemas.Limit
    before: _Before


class _CoverageBody(TypedDict):
    moc: _Moc


class _First(TaskFilters, total=False):
    limit: schemas.Limit
    before: _Before


@schemas.exact
class _Covering(Placed):
    share: Annotated[
        float, Field(description="Of the map; 1 for a position.", ge=0, examples=[0.25])
    ]


class _Coverage(TypedDict):
    more: Annotated[bool, Field(description="Whether there are more.", examples=[False])]
    next: Annotated[int | None, Field(description="`before` of the next page.", examples=[None])]
    results: list[_Covering]


@blueprint.get("/lightcurve/")
@documented({200: tabular.table(_LightCurve)}, query=_LightCurveQuery, errors=(400, 406, 502))
def light_curve() -> ResponseReturnValue:
    """All that was measured at a position, in all tasks that the user may see, by time.

    The position is ``ra`` and ``dec``, or ``position``: coordinates in any notation, or a name.
    """
    form = tabular.wanted_format(_LIGHT_CURVE_FORMATS)
    if query.text("names") not in ("", "stdweb"):
        raise invalid(names="Take stdweb, or leave it out.")
    ra, dec, _ = _position()
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
        limits=query.flag("limits", default=True),
    )
    try:
        with gateway().database.reading() as session:
            points = lightcurve.light_curve(session, question, wanted(session))
    except lightcurve.TooMany:
        raise refused(
            400, f"More than {lightcurve.MOST} measurements lie there: take a smaller radius."
        ) from None
    around = {"ra": ra, "dec": dec, "radius": radius, "count": len(points)}
    if query.text("names") == "stdweb":
        theirs = list(stdweb.rows(points))
        around["count"] = len(theirs)
        return tabular.answer(stdweb.LIGHT_CURVE, theirs, form, "lightcurve", around)
    return tabular.answer(columns.LIGHT_CURVE, points, form, "lightcurve", around)


@blueprint.get("/coverage/")
@documented({200: _Coverage}, query=_CoverageQuery, errors=(400, 502))
def covering_tasks() -> ResponseReturnValue:
    """The tasks that cover a place, newest first.

    The place is a position (``ra`` and ``dec``, or ``position``: coordinates in any notation, or a
    name), a circle around it where a ``radius`` is given, or a map (``moc``).
    """
    if text := query.text("moc", _LONGEST_MOC):
        return _covering_map(_parsed(text))
    ra, dec, radius = _position()
    radius = query.number("radius", least=0.0, most=_LARGEST_CIRCLE, default=radius)
    if not radius:
        return _covering_tasks(coverage.touching(ra, dec), coverage.at(ra, dec))
    radius = min(max(radius, _SMALLEST_CIRCLE), _LARGEST_CIRCLE)
    return _covering_map(coverage.circle(ra, dec, radius))


@blueprint.post("/coverage/")
@documented({200: _Coverage}, query=_First, body=_CoverageBody)
def covering_map() -> ResponseReturnValue:
    """The tasks that cover a part of a map that is too long for an address."""
    body = read_body(largest=2 * _LONGEST_MOC, files_too=False)
    return _covering_map(_parsed(body.text("moc", _LONGEST_MOC)))


def _covering_map(moc: Any) -> ResponseReturnValue:
    return _covering_tasks(coverage.overlapping(moc), coverage.share_of(moc))


def _covering_tasks(condition: ColumnElement[bool], judge: coverage.Judge) -> ResponseReturnValue:
    limit = query.integer("limit", least=1, most=_MOST_TASKS, default=_USUAL_TASKS)
    before = query.before()
    with gateway().database.reading() as session:
        allowed = and_(wanted(session), true() if before is None else Task.id < before)
        found = coverage.covering(session, condition, judge, allowed)
        shares = {task.id: share for task, share in islice(found, limit + 1)}
        shown = list(shares)[:limit]
        rows = placed_tasks(session, shown)
    more = len(shares) > limit
    results = [{**row, "share": shares[row["id"]]} for row in rows]
    return jsonify({"more": more, "next": shown[-1] if more else None, "results": results})


def _position() -> tuple[float, float, float | None]:
    """Right ascension, declination, and the radius (degrees) where it was given with them."""
    if "position" in request.args:
        return places.place("position")
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
    return ra % 360, dec, None


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
