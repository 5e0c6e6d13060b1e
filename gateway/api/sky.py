"""What is known of a place on the sky: its light curve, and who has looked there?"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from gateway.api import query, serializers, tabular
from gateway.api.auth import current_user, gateway
from gateway.api.body import read_body
from gateway.api.errors import invalid, refused
from gateway.measurements import columns, coverage, lightcurve
from gateway.models import Source, Task
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


@blueprint.get("/lightcurve/")
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


@blueprint.route("/coverage/", methods=["GET", "POST"])
def covering_tasks() -> ResponseReturnValue:
    """The tasks that cover a position (``ra``, ``dec``), or a part of a map (``moc``).

    A long map is sent in the body of a POST.
    """
    limit = query.integer("limit", least=1, most=_MOST_TASKS, default=_USUAL_TASKS)
    text = _moc_text()
    if text:
        moc = _parsed(text)
        condition, judge = coverage.overlapping(moc), coverage.share_of(moc)
    else:
        ra, dec = _position()
        condition, judge = coverage.touching(ra, dec), coverage.at(ra, dec)
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


def _moc_text() -> str:
    if request.method == "POST":
        return read_body(largest=2 * _LONGEST_MOC, files_too=False).text("moc", _LONGEST_MOC)
    return query.text("moc", _LONGEST_MOC)


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
