"""How does SkyPortal ask for an analysis of one of its objects, as it asks any such service?

SkyPortal sends an object's name, a few parameters, and the address at which it awaits the answer;
that it is at work is all that the present answer says. Its photometry is told without a position,
which is therefore a parameter, or asked of the SkyPortal of the settings.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import ExitStack
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict
from werkzeug.datastructures import FileStorage

from gateway.accounts.quotas import check_upload
from gateway.api import query, schemas, serializers
from gateway.api.auditing import remember_request
from gateway.api.auth import called_by_services, current_user
from gateway.api.body import Body, checked_config, parse_moment, read_body
from gateway.api.creation import LONGEST_NAME, make_task
from gateway.api.errors import invalid, not_found, refused
from gateway.api.run_request import steps_of
from gateway.current import gateway
from gateway.followups.calls import Caller, CallFailed
from gateway.measurements.lightcurve import LARGEST_RADIUS
from gateway.models import LARGEST_ID, Analysis, AnalysisState
from gateway.openapi import JSON, documented
from gateway.skyportal.client import SkyPortal, SkyPortalError
from skyrelay.parameters import Validated
from skyrelay.stages import INSPECT, PHOTOMETRY

blueprint = Blueprint("analyses", __name__, url_prefix="/skyportal/analyses")

_LONGEST_NAME, _LONGEST_URL = 250, 2000
#: Arcsec.
_USUAL_RADIUS = 3.0
_USUAL_PAGE, _LARGEST_PAGE = 50, 500
#: What is done with an image unless it is said otherwise.
_USUAL_STEPS = f"{INSPECT.step},{PHOTOMETRY.step}"
_PLACE = ("ra", "dec", "radius")
_FILE = ("local_file", "ext", "preset")
_IMAGE = ("image", *_FILE, "steps", "title")
#: Between the media type of a ``data:`` address and its content.
_BASE64 = ";base64,"

#: In these something is tried, again and again, until it succeeds.
_TRIED = (AnalysisState.FETCHING, AnalysisState.PENDING)

_ObjectId = Annotated[str, Field(description="The object's name.", examples=["ZTF21aaqjmps"])]
_Parameters = Annotated[
    dict[str, Any],
    Field(
        description=f"Some of {', '.join((*_PLACE, *_IMAGE))}; texts or numbers.",
        examples=[{"ra": "202.47", "dec": "47.2", "radius": "3"}],
    ),
]


class _Inputs(TypedDict, total=False):
    analysis_parameters: _Parameters
    photometry: Annotated[
        str, Field(description="CSV; not looked at.", examples=["mjd,mag,magerr,filter\n"])
    ]
    redshift: Annotated[str, Field(description="CSV; not looked at.", examples=["redshift\n"])]


class _Request(TypedDict):
    callback_url: Annotated[
        str,
        Field(
            description="Where the answer is awaited.",
            examples=["https://skyportal.example.org/api/webhook/obj_analysis/555ce6d4"],
        ),
    ]
    callback_method: NotRequired[Literal["POST"]]
    inputs: NotRequired[_Inputs]
    analysis_parameters: NotRequired[_Parameters]
    analysis_resource_type: NotRequired[Literal["obj"]]
    api_key: NotRequired[
        Annotated[
            str,
            Field(description="A token's key, if nothing else shows one.", examples=["9944b0"]),
        ]
    ]
    resource_id: _ObjectId
    invalid_after: NotRequired[
        Annotated[str, Field(description="UTC.", examples=["2030-01-31 12:00:00.000000"])]
    ]


class _Begun(TypedDict):
    status: Literal["pending"]
    message: Annotated[str, Field(examples=["Skyrelay has begun."])]
    id: Annotated[int, Field(description="Of the analysis here.", examples=[4])]
    task: Annotated[int | None, Field(description="If an image came along.", examples=[None])]


@schemas.exact
class _Shown(TypedDict):
    id: Annotated[int, Field(examples=[4])]
    object_id: _ObjectId
    ra: Annotated[float, Field(description="deg, ICRS", examples=[202.47])]
    dec: Annotated[float, Field(description="deg, ICRS", examples=[47.2])]
    radius: Annotated[float, Field(description="arcsec", examples=[_USUAL_RADIUS])]
    task: Annotated[int | None, Field(examples=[None])]
    state: Annotated[str, Field(description=", ".join(AnalysisState), examples=["delivered"])]
    created: schemas.Moment
    expires: schemas.Later
    due: Annotated[
        str | None,
        Field(description="Of the next try, to fetch the image or to answer.", examples=[None]),
    ]
    tries: Annotated[
        list[dict[str, Any]],
        Field(
            description="at, status, seconds and error of each call",
            examples=[[{"at": "2026-03-01T21:14:05Z", "status": 200, "seconds": 0.1, "error": ""}]],
        ),
    ]
    last_error: Annotated[str, Field(examples=[""])]


class _Page(TypedDict, total=False):
    limit: schemas.Limit
    offset: schemas.Offset


@blueprint.post("/")
@called_by_services
@documented({200: _Begun}, body=_Request, kinds=(JSON,), errors=(403, 404, 429, 502, 507))
def begin_analysis() -> ResponseReturnValue:
    """Analyse an object for SkyPortal: its light curve, from all measurements the user may see.

    The answer goes to ``callback_url`` as soon as it is known. With an image (``image`` as a
    ``data:`` address or one of the web, or ``local_file``), that is when the image has been
    processed, as a new task with the object as its target. What is at an address is fetched after
    this answer.
    """
    body = read_body(files_too=False)
    url, expires = _callback(body)
    object_id = body.text("resource_id", _LONGEST_NAME)
    if not object_id:
        raise invalid(resource_id="This field is required.")
    given = _parameters(body)
    radius = query.bounded("radius", given.get("radius", _USUAL_RADIUS), 0.01, LARGEST_RADIUS)
    ra, dec = _position(object_id, given)
    image = _image(object_id, ra, dec, given)
    analysis = Analysis(
        user_id=current_user().id,
        object_id=object_id,
        ra=ra,
        dec=dec,
        radius=radius,
        callback_url=url,
        expires=expires,
        **image,
    )
    with gateway().database.writing() as session:
        session.add(analysis)
        session.flush()
        remember_request(
            session,
            "skyportal_analysis",
            task_id=analysis.task_id,
            analysis=analysis.id,
            source=object_id,
        )
    message = f"Skyrelay processes task {analysis.task_id}." if image else "Skyrelay has begun."
    answer = {"status": "pending", "message": message, "id": analysis.id, "task": analysis.task_id}
    return jsonify(answer)


@blueprint.get("/")
@documented({200: list[_Shown]}, query=_Page, errors=(400,))
def list_analyses() -> ResponseReturnValue:
    """The analyses asked for with the user's tokens, newest first, and how their answers went."""
    limit = query.integer("limit", least=1, most=_LARGEST_PAGE, default=_USUAL_PAGE)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    with gateway().database.reading() as session:
        found = session.scalars(
            select(Analysis)
            .where(Analysis.user_id == current_user().id)
            .order_by(Analysis.id.desc())
            .limit(limit)
            .offset(offset)
        ).all()
    return jsonify([_shown(each) for each in found])


@blueprint.get("/<int:analysis_id>/")
@documented({200: _Shown}, errors=(403,))
def read_analysis(analysis_id: int) -> ResponseReturnValue:
    """One analysis, and how its answer went."""
    with gateway().database.reading() as session:
        return jsonify(_shown(_get(session, analysis_id)))


def _get(session: Session, analysis_id: int) -> Analysis:
    found = session.get(Analysis, analysis_id) if analysis_id <= LARGEST_ID else None
    if found is None:
        raise not_found()
    if found.user_id != current_user().id:
        raise refused(403, "Permission denied")
    return found


def _callback(body: Body) -> tuple[str, datetime | None]:
    """Where the answer is awaited, and until when."""
    if body.text("callback_method", 20) not in ("", "POST"):
        raise invalid(callback_method="Only POST is known.")
    if body.text("analysis_resource_type", 20) not in ("", "obj"):
        raise invalid(analysis_resource_type="Only objects (obj) are analysed.")
    url = body.text("callback_url", _LONGEST_URL)
    if not url:
        raise invalid(callback_url="This field is required.")
    try:
        Caller.of(gateway().settings.skyrelay_webhook_networks).check(url)
    except CallFailed as error:
        raise invalid(callback_url=f"This address cannot be called: {error}.") from error
    until = body.text("invalid_after", 100)
    # SkyPortal sends the text of Python's value, also where there is none.
    return url, parse_moment("invalid_after", until) if until not in ("", "None") else None


def _parameters(body: Body) -> dict[str, str]:
    """The parameters, which SkyPortal puts among the inputs; empty ones are left out."""
    inputs = _object("inputs", body.fields.get("inputs"))
    found: dict[str, str] = {}
    for given in (body.fields.get("analysis_parameters"), inputs.get("analysis_parameters")):
        for name, value in _object("analysis_parameters", given).items():
            if name not in (*_PLACE, *_IMAGE):
                known = ", ".join((*_PLACE, *_IMAGE))
                raise invalid(
                    analysis_parameters=f"There is no {name[:100]}: take some of {known}."
                )
            if isinstance(value, bool) or not isinstance(value, str | int | float | None):
                raise invalid(**{name: "Not a valid string."})
            if value is not None and str(value):
                found[name] = str(value)
    return found


def _object(name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise invalid(**{name: "Must be an object."})
    return given


def _position(object_id: str, given: dict[str, str]) -> tuple[float, float]:
    """Where the object is, in degrees: as the parameters say, else as SkyPortal does."""
    if "ra" in given and "dec" in given:
        return (
            query.bounded("ra", given["ra"], -360, 360),
            query.bounded("dec", given["dec"], -90, 90),
        )
    if "ra" in given or "dec" in given:
        raise invalid(analysis_parameters="Give both ra and dec, or neither.")
    if not gateway().settings.skyportal_base_url:
        raise invalid(
            analysis_parameters="Give ra and dec: SKYPORTAL_BASE_URL is not set, "
            "so that no SkyPortal can be asked for them."
        )
    portal = SkyPortal(gateway().settings)
    try:
        return portal.position_of(object_id)
    except SkyPortalError as error:
        raise refused(502, str(error)) from error
    finally:
        portal.close()


def _image(object_id: str, ra: float, dec: float, given: dict[str, str]) -> dict[str, Any]:
    """What an analysis has of the image that is to be processed for it; nothing without one.

    A task is made in any case. It has its run already if its image is here.
    """
    if "image" not in given and "local_file" not in given:
        for name in _IMAGE:
            if name in given:
                raise invalid(**{name: "It is for an image: give image or local_file."})
        return {}
    steps = [each.strip() for each in given.get("steps", _USUAL_STEPS).split(",")]
    fields: dict[str, Any] = {"title": given.get("title", object_id), "steps": steps}
    fields |= {name: given[name] for name in _FILE if name in given}
    config = checked_config({"target": f"{ra} {dec}"})
    address = given.get("image", "")
    check_upload(gateway(), current_user(), request.content_length or 0, makes_task=True)
    if address.startswith("http"):
        return _to_be_fetched(object_id, address, Body(fields, {}), config)
    with ExitStack() as received:
        files = {"file": _decoded(object_id, address, received)} if address else {}
        task = make_task(Body(fields, files), config, steps_of(Body(fields, {})))
    return {"task_id": task["id"], "run_id": task["celery_id"]}


def _to_be_fetched(object_id: str, address: str, body: Body, config: Validated) -> dict[str, Any]:
    """An empty task for the image at an address of the web."""
    if "local_file" in body:
        raise invalid(image="Send either image or local_file, not both.")
    if len(address) > _LONGEST_URL:
        raise invalid(image=f"Ensure this field has no more than {_LONGEST_URL} characters.")
    try:
        Caller.of(gateway().settings.skyrelay_webhook_networks).check(address)
    except CallFailed as error:
        raise invalid(image=f"This address cannot be called: {error}.") from error
    steps = steps_of(body)
    name = unquote(urlsplit(address).path.rpartition("/")[2]).replace("\x00", "")
    body.fields["original_name"] = (name or f"{object_id}.fits")[-LONGEST_NAME:]
    task = make_task(body, config, [])
    waiting = {"state": AnalysisState.FETCHING, "image": address, "steps": steps}
    return {"task_id": task["id"], **waiting}


def _decoded(object_id: str, address: str, received: ExitStack) -> FileStorage:
    """The file in a ``data:`` address, which browsers make of one."""
    kind, found, content = address.partition(_BASE64)
    if not found or not kind.startswith("data:"):
        raise invalid(image="Send the file as data:<media type>;base64,<content>.")
    target = received.enter_context(gateway().store.incoming())
    try:
        target.write(base64.b64decode(unquote_to_bytes(content), validate=True))
    except binascii.Error as error:
        raise invalid(image="Its content is no base64.") from error
    target.seek(0)
    names = [part[5:] for part in kind.split(";") if part.startswith("name=")]
    return FileStorage(target, filename=names[0] if names else f"{object_id}.fits")


def _shown(found: Analysis) -> dict[str, Any]:
    return {
        "id": found.id,
        "object_id": found.object_id,
        "ra": found.ra,
        "dec": found.dec,
        "radius": found.radius,
        "task": found.task_id,
        "state": found.state,
        "created": serializers.moment(found.created),
        "expires": serializers.later(found.expires),
        "due": serializers.moment(found.due) if found.state in _TRIED else None,
        "tries": found.tries,
        "last_error": found.last_error,
    }
