"""How does a user say by rectangles which pixels of an image, or of a template, are to be used?

The files are those of STDWeb: the mask itself, and beside it the areas, to be drawn again.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import IO, Annotated, Any, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway.accounts.quotas import check_bytes, forget_size
from gateway.api import schemas
from gateway.api.access import get_locked_task, get_task, refuse_while_running
from gateway.api.auditing import remember_request
from gateway.api.body import Body, read_body
from gateway.api.errors import detail, invalid, not_found, refused
from gateway.api.processing import begin
from gateway.contents.headers import read_headers
from gateway.current import gateway
from gateway.models import Task
from gateway.openapi import documented
from gateway.permissions import Right
from skyrelay import products
from skyrelay.imaging.drawn_mask import Area, write_drawn_mask
from skyrelay.imaging.fits_structure import MAX_PIXELS
from skyrelay.stages import INSPECT

blueprint = Blueprint("masks", __name__)

_MOST_AREAS = 500
#: Pixels of a picture; nobody draws on a larger one.
_WIDEST = 100_000
#: Bytes of the file with the areas.
_LONGEST = 1_000_000
#: What is masked, the mask, and the areas, by the name in the path.
_FILES = {
    "image": (products.IMAGE, products.CUSTOM_MASK, products.CUSTOM_MASK_AREAS),
    "template": (
        products.CUSTOM_TEMPLATE,
        products.CUSTOM_TEMPLATE_MASK,
        products.CUSTOM_TEMPLATE_MASK_AREAS,
    ),
}


class _Area(TypedDict):
    x: Annotated[float, Field(description="From the left.", examples=[10])]
    y: Annotated[float, Field(description="From above.", examples=[20])]
    width: Annotated[float, Field(examples=[100])]
    height: Annotated[float, Field(examples=[50])]


_Inverted = Annotated[
    bool,
    Field(description="Areas are masked; else all but the areas.", examples=[True]),
]
_Areas = Annotated[list[_Area], Field(description="In pixels of the picture; none: no mask.")]
_Width = Annotated[
    float | None, Field(description="Of the picture; of the image, if not given.", examples=[800])
]


class _Drawing(TypedDict):
    areas: _Areas
    inverted: NotRequired[_Inverted]
    width: NotRequired[_Width]
    inspect: NotRequired[
        Annotated[bool, Field(description="Inspect an image again; yes.", examples=[True])]
    ]


@schemas.exact
class _Drawn(TypedDict):
    areas: _Areas
    inverted: _Inverted
    width: _Width
    masked: NotRequired[
        Annotated[float, Field(description="Share of the image.", ge=0, le=1, examples=[0.02])]
    ]
    celery_id: NotRequired[Annotated[schemas.RunId, Field(description="Of the inspection.")]]


@blueprint.get("/tasks/<int:task_id>/mask/<of>/")
@documented({200: _Drawn})
def read_mask(task_id: int, of: str) -> ResponseReturnValue:
    """The areas that were drawn on the ``image``, or on the ``template``; none, if none were."""
    _, _, name = _files(of)
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    try:
        path = gateway().store.path(task_id, name)
        with path.open("rb") as file:
            said = json.loads(file.read(_LONGEST))
        areas = [asdict(_area(each)) for each in said["areas"]]
        across, inverted = _positive(said.get("width")), bool(said.get("inverted"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # There is none, or the user has put something else there.
        areas, across, inverted = [], None, False
    return jsonify({"areas": areas, "inverted": inverted, "width": across})


@blueprint.post("/tasks/<int:task_id>/mask/<of>/")
@documented({200: _Drawn}, body=_Drawing, errors=(409, 429, 507))
def draw_mask(task_id: int, of: str) -> ResponseReturnValue:
    """Mask the ``image``, or the custom ``template``, by rectangles, in place of the present mask.

    They become ``custom_mask.fits`` and ``custom_mask.json`` (``custom_template_mask...``). As the
    mask is made part of ``mask.fits`` by the inspection, that is run again.
    """
    _files(of)
    body = read_body(files_too=False)
    areas, across = _areas(body), _positive(body.fields.get("width"))
    if "width" in body and across is None:
        raise invalid(width=f"It must be a number up to {_WIDEST}.")
    drawing = {
        "areas": [asdict(area) for area in areas],
        "inverted": bool(body.flag("inverted")),
        "width": across,
    }
    answer: dict[str, Any] = dict(drawing)
    with ExitStack() as received:
        files: dict[str, IO[bytes]] = {}
        if areas:
            # The image may have to be fetched, and the mask to be sent: nobody is to wait for it.
            with gateway().database.reading() as session:
                refuse_while_running(get_task(session, task_id, Right.EDIT), "another mask")
            files, answer["masked"] = _drawn(task_id, of, areas, drawing, received)
        with gateway().database.writing() as session:
            task = get_locked_task(session, task_id, Right.EDIT)
            refuse_while_running(task, "another mask")
            forget_size(session, task_id)
            if files:
                _adopt(session, task, files)
            else:
                _remove(task_id, of)
            remember_request(session, "mask_update", task_id=task_id, of=of, areas=len(areas))
            if of == "image" and body.flag("inspect") is not False:
                answer["celery_id"] = begin(session, task, [INSPECT.step], {}).id
    return jsonify(answer)


def _files(of: str) -> tuple[str, str, str]:
    if of not in _FILES:
        raise not_found()
    return _FILES[of]


def _areas(body: Body) -> list[Area]:
    given = body.fields.get("areas")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            given = None
    if not isinstance(given, list) or len(given) > _MOST_AREAS:
        raise invalid(areas=f"Send a list of at most {_MOST_AREAS} rectangles.")
    try:
        return [_area(each) for each in given]
    except (ValueError, TypeError, KeyError) as error:
        raise invalid(areas="A rectangle has x, y, width and height, all numbers.") from error


def _area(given: Any) -> Area:
    area = Area(**{name: float(given[name]) for name in ("x", "y", "width", "height")})
    if any(not abs(value) <= _WIDEST for value in asdict(area).values()):
        raise ValueError("beyond every picture")
    if min(area.width, area.height) < 0:
        raise ValueError("a rectangle of less than nothing")
    return area


def _positive(given: Any) -> float | None:
    try:
        number = float(given)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and 0 < number <= _WIDEST else None


def _drawn(
    task_id: int, of: str, areas: list[Area], drawing: dict[str, Any], received: ExitStack
) -> tuple[dict[str, IO[bytes]], float]:
    """The mask and its areas, complete, by name; which share of the image it masks."""
    image, mask, notes = _files(of)
    height, width = shape = _shape(task_id, image)
    files = {name: received.enter_context(gateway().store.incoming()) for name in (mask, notes)}
    across = drawing["width"] or width
    masked = write_drawn_mask(files[mask], shape, areas, across, hide=drawing["inverted"])
    files[notes].write(json.dumps(drawing, indent=4).encode())
    for content in files.values():
        gateway().store.complete(content)
    return files, masked / (width * height)


def _adopt(session: Session, task: Task, files: dict[str, IO[bytes]]) -> None:
    size = sum(os.fstat(content.fileno()).st_size for content in files.values())
    check_bytes(gateway(), session, task.user, size)
    for name, content in files.items():
        gateway().store.adopt(task.id, name, content)


def _remove(task_id: int, of: str) -> None:
    _, *names = _files(of)
    for name in names:
        with suppress(FileNotFoundError):
            gateway().store.remove(task_id, name)


def _shape(task_id: int, name: str) -> tuple[int, int]:
    """Height and width of what is masked: of the first image in the file, as the stages see it."""
    try:
        headers, _ = read_headers(gateway().store.path(task_id, name))
    except FileNotFoundError:
        raise detail(404, f"The task has no {name}.") from None
    shapes = [each["shape"] for each in headers if each["kind"] in ("image", "packed image")]
    fitting = [shape for shape in shapes if len(shape) >= 2 and min(shape) > 0]
    height, width = next((shape[-2:] for shape in fitting if min(shape[-2:]) > 1), (0, 0))
    if not 0 < height * width <= MAX_PIXELS:
        raise refused(400, f"{name} holds no image that can be masked.")
    return height, width
