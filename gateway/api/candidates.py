"""Which candidates has a task, the brightest first, page by page?"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal
from urllib.parse import quote

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api import query, schemas, tabular
from gateway.api.access import get_task
from gateway.api.errors import ApiError, invalid, not_found
from gateway.api.files import check_path
from gateway.current import gateway
from gateway.measurements import columns
from gateway.measurements.products import CANDIDATES, READ, Row, read_products
from gateway.openapi import documented
from gateway.permissions import Right
from skyrelay.products import STACK_FRAMES, UNSTACKED_SUFFIX

blueprint = Blueprint("candidates", __name__)

_USUAL, _MOST = 100, 1000
_STEPS = tuple(step for step, _, _ in CANDIDATES)
#: Value of a row by the name of the order; rows without one come last.
_ORDERS = {
    "brightness": lambda row: math.inf if row["mag"] is None else row["mag"],
    "score": lambda row: math.inf if row["score"] is None else -row["score"],
}


class _Wanted(TypedDict, total=False):
    step: Annotated[
        Literal["simple_transients", "subtraction"],
        Field(description="That has found them; both, if not given.", examples=["subtraction"]),
    ]
    order: Annotated[
        Literal["brightness", "score"],
        Field(description="The brightest, or likeliest, first.", examples=["brightness"]),
    ]
    limit: schemas.Limit
    offset: schemas.Offset
    format: tabular.Format


class _Page(schemas.Page):
    results: Annotated[Any, tabular.rows_of(columns.CANDIDATES_SHOWN)]


@blueprint.get("/tasks/<int:task_id>/candidates/")
@documented({200: tabular.table(_Page)}, query=_Wanted, errors=(400, 406))
def list_candidates(task_id: int) -> ResponseReturnValue:
    """A page of the task's candidates, the brightest first, with the addresses of their pictures.

    ``cutout`` is the file, ``picture`` shows it; ``unstacked`` is the same place in every image of
    a stack.
    """
    form = tabular.wanted_format()
    step, order = query.text("step"), query.text("order") or "brightness"
    if step and step not in _STEPS:
        raise invalid(step=f"Take one of {', '.join(_STEPS)}.")
    if order not in _ORDERS:
        raise invalid(order=f"Take one of {', '.join(_ORDERS)}.")
    limit = query.integer("limit", least=1, most=_MOST, default=_USUAL)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    try:
        found = gateway().store.read_version(task_id, read_products, READ).candidates
    except FileNotFoundError:
        raise not_found() from None
    chosen = sorted((row for row in found if step in ("", row["step"])), key=_ORDERS[order])
    stacked = gateway().store.has(task_id, STACK_FRAMES)
    page = chosen[offset : offset + limit]
    shown = [_addressed(task_id, row, stacked=stacked) for row in page]
    count = len(chosen)
    around = {"count": count, **query.neighbours(limit, offset, count)}
    return tabular.answer(columns.CANDIDATES_SHOWN, shown, form, "candidates", around)


def _addressed(task_id: int, row: Row, *, stacked: bool) -> Row:
    path = row["cutout"]
    if path is None:
        return row | {"picture": None, "unstacked": None}
    strip = _strip_of(task_id, path) if stacked else None
    files = f"/api/tasks/{task_id}/files/"
    return row | {
        "cutout": files + quote(path),
        "picture": f"/api/tasks/{task_id}/cutout/{quote(path)}",
        "unstacked": None if strip is None else files + quote(strip),
    }


def _strip_of(task_id: int, cutout: str) -> str | None:
    """The path of the strip that belongs to a cut-out, whose name may be anything."""
    folder, _, name = cutout.rpartition("/")
    strip = f"{folder}/{name.rpartition('.')[0] or name}{UNSTACKED_SUFFIX}"
    try:
        check_path(strip)
    except ApiError:
        return None
    return strip if gateway().store.has(task_id, strip) else None
