"""What was measured: in one task, and in all that the user may see?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import undefer
from typing_extensions import TypedDict

from gateway.api import query, schemas, tabular
from gateway.api.access import get_task
from gateway.api.auth import current_user, gateway
from gateway.api.errors import invalid, not_found
from gateway.measurements import columns
from gateway.measurements.products import READ, Row, TaskProducts, read_products
from gateway.models import Task, TaskResults, User
from gateway.openapi import documented
from gateway.permissions import Right, visible_to
from skyrelay.stages import PHOTOMETRY

blueprint = Blueprint("results", __name__)

_MOST_TASKS, _USUAL_TASKS = 1000, 100
#: What the rows of an answer are about.
_KINDS = ("images", "targets", "candidates")


class _OfTask(TypedDict, total=False):
    of: Annotated[
        Literal["targets", "candidates"],
        Field(description="These rows alone.", examples=["targets"]),
    ]
    format: tabular.Format


class _Filters(TypedDict, total=False):
    of: Annotated[
        Literal["images", "targets", "candidates"],
        Field(description="What a row is about.", examples=["images"]),
    ]
    format: tabular.Format
    filter: Annotated[str, Field(description="Of the image.", examples=["r"])]
    state: schemas.State
    user: Annotated[schemas.Username, Field(description="Owner.")]
    query: Annotated[str, Field(description="In name or title.", examples=["m51"])]
    after: schemas.Mjd
    before: schemas.Mjd
    deeper_than: Annotated[float, Field(description="Limit of the image.", examples=[20.5])]
    with_candidates: Annotated[bool, Field(description="Only these.", examples=[True])]
    least_score: Annotated[float, Field(description="Of candidates.", examples=[0.5])]
    limit: Annotated[schemas.Limit, Field(description="Tasks on a page.")]
    offset: schemas.Offset


_Value = Annotated[
    dict[str, Any] | None,
    Field(
        description="value, error, unit and doc; null if it was not measured.",
        examples=[{"value": 27.5, "error": 0.01, "unit": "mag", "doc": ""}],
    ),
]


@schemas.exact
class _TaskResults(TypedDict):
    id: schemas.TaskId
    original_name: schemas.Name
    state: schemas.State
    celery_id: schemas.OpenRun
    time: Annotated[Any, Field(description="UTC.", examples=["2026-01-31T20:00:00"])]
    mjd: Annotated[float | None, Field(description="UTC.", examples=[61071.8])]
    filter: Annotated[str | None, Field(examples=["r"])]
    ra: Annotated[float | None, Field(description="deg", examples=[202.47])]
    dec: Annotated[float | None, Field(description="deg", examples=[47.2])]
    radius: Annotated[float | None, Field(description="deg", examples=[0.3])]
    pixel_scale: Annotated[float | None, Field(description="deg", examples=[0.00028])]
    zero_point: _Value
    zero_point_scatter: _Value
    color_term: _Value
    mag_limit: _Value
    fwhm: _Value
    fwhm_arcsec: _Value
    n_objects: Annotated[Any, Field(examples=[1234])]
    targets: Annotated[Any, tabular.rows_of(columns.TARGETS_OF_TASK)]
    candidates: Annotated[Any, tabular.rows_of(columns.CANDIDATES_OF_TASK)]
    stages: Annotated[
        dict[str, Any],
        Field(
            description="By step: all its values, and what is missing.",
            examples=[{"photometry": {"degraded": [], "values": {}}}],
        ),
    ]
    unreadable: Annotated[list[str], Field(description="Files.", examples=[["target.vot"]])]


class _Rows(TypedDict):
    results: Annotated[Any, tabular.rows_of(columns.TARGETS_OF_TASK, columns.CANDIDATES_OF_TASK)]


class _Page(TypedDict):
    count: Annotated[int, Field(description="Tasks on all pages.", examples=[1])]
    next: Annotated[str | None, Field(description="Address of the next page.", examples=[None])]
    previous: Annotated[str | None, Field(examples=[None])]
    results: Annotated[Any, tabular.rows_of(columns.IMAGES, columns.TARGETS, columns.CANDIDATES)]


@blueprint.get("/tasks/<int:task_id>/results/")
@documented({200: tabular.table(_TaskResults | _Rows)}, query=_OfTask, errors=(400, 406))
def results_of_task(task_id: int) -> ResponseReturnValue:
    """All that was measured in the task, as its products say it now.

    JSON holds everything; ``of=targets`` or ``of=candidates`` gives the rows alone, as a table in
    any format.
    """
    kind = _kind(default="")
    form = tabular.wanted_format()
    with gateway().database.reading() as session:
        task = get_task(session, task_id, Right.VIEW)
    try:
        found = gateway().store.read_version(task_id, read_products, READ)
    except FileNotFoundError:
        raise not_found() from None
    candidates = [_linked(task_id, row) for row in found.candidates]
    if kind == "candidates":
        return tabular.answer(columns.CANDIDATES_OF_TASK, candidates, form, "candidates")
    if kind == "targets" or form != "json":
        return tabular.answer(columns.TARGETS_OF_TASK, found.targets, form, "targets")
    return jsonify(
        {
            "id": task.id,
            "original_name": task.original_name,
            "state": task.state,
            "celery_id": task.celery_id,
            **_summary(task, found),
            "targets": found.targets,
            "candidates": candidates,
            "stages": found.stages,
            "unreadable": found.unreadable,
        }
    )


@blueprint.get("/results/")
@documented({200: tabular.table(_Page)}, query=_Filters, errors=(400, 406))
def results() -> ResponseReturnValue:
    """What was measured in all tasks, the newest tasks first.

    ``of``: one row per task (images), per measurement of a target, or per candidate. A page holds
    the rows of ``limit`` tasks.
    """
    kind = _kind(default="images")
    form = tabular.wanted_format()
    limit = query.integer("limit", least=1, most=_MOST_TASKS, default=_USUAL_TASKS)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    conditions = _conditions(kind)
    selected = (
        select(TaskResults, Task, User.username)
        .join(Task, Task.id == TaskResults.task_id)
        .join(User, User.id == Task.user_id)
        .where(*conditions)
    )
    counted = select(func.count()).select_from(selected.subquery())
    if kind != "images":
        selected = selected.options(undefer(getattr(TaskResults, kind)))
    with gateway().database.reading() as session:
        count = session.scalar(counted) or 0
        found = session.execute(selected.order_by(Task.id.desc()).limit(limit).offset(offset)).all()
    rows = [row for result, task, name in found for row in _rows(kind, result, task, name)]
    around = {
        "count": count,
        "next": query.page(limit, offset + limit) if offset + limit < count else None,
        "previous": query.page(limit, max(0, offset - limit)) if offset > 0 else None,
    }
    shown = {"images": columns.IMAGES, "targets": columns.TARGETS}.get(kind, columns.CANDIDATES)
    return tabular.answer(shown, rows, form, kind, around)


def _kind(default: str) -> str:
    kind = query.text("of") or default
    if kind and kind not in _KINDS:
        raise invalid(of=f"Take one of {', '.join(_KINDS)}.")
    return kind


def _conditions(kind: str) -> list[ColumnElement[bool]]:
    conditions = [visible_to(current_user())]
    if name := query.text("filter"):
        conditions.append(TaskResults.filter == name)
    if state := query.text("state"):
        conditions.append(Task.state == state)
    if username := query.text("user"):
        conditions.append(User.username == username)
    if word := query.text("query"):
        conditions.append(
            Task.original_name.icontains(word, autoescape=True)
            | Task.title.icontains(word, autoescape=True)
        )
    for name, bound in (("after", TaskResults.time.__ge__), ("before", TaskResults.time.__lt__)):
        if (moment := query.moment(name)) is not None:
            conditions.append(bound(moment))
    if (deeper := query.number("deeper_than")) is not None:
        conditions.append(TaskResults.mag_limit >= deeper)
    if query.flag("with_candidates") or kind == "candidates":
        conditions.append(TaskResults.n_candidates > 0)
    if kind == "targets":
        conditions.append(TaskResults.n_targets > 0)
    return conditions


def _rows(kind: str, result: TaskResults, task: Task, username: str) -> list[Row]:
    about = {"task": task.id, "original_name": task.original_name, "time": result.time}
    if kind == "targets":
        return [row | about for row in result.targets]
    if kind == "candidates":
        least = query.number("least_score")
        return [
            _linked(task.id, row) | about
            for row in result.candidates
            if least is None or (row["score"] is not None and row["score"] >= least)
        ]
    names = [column.name for column in columns.IMAGES]
    own = {name: getattr(result, name) for name in names if hasattr(result, name)}
    return [
        own
        | about
        | {"title": task.title, "state": task.state, "user": username}
        | {name: getattr(task, name) for name in ("ra", "dec", "radius")}
    ]


def _summary(task: Task, found: TaskProducts) -> dict[str, Any]:
    """What most clients look for first, each with its uncertainty and unit."""
    step = PHOTOMETRY.step
    values: Mapping[str, Any] = found.stages.get(step, {}).get("values", {})
    names = ("zero_point", "zero_point_scatter", "color_term", "mag_limit", "fwhm", "fwhm_arcsec")
    return {
        "time": found.value("inspect", "time"),
        "mjd": found.time,
        "filter": found.filter or None,
        "ra": task.ra,
        "dec": task.dec,
        "radius": task.radius,
        "pixel_scale": task.pixel_scale,
        **{name: values.get(name) for name in names},
        "n_objects": found.value(step, "n_objects"),
    }


def _linked(task_id: int, row: Row) -> Row:
    """A candidate with the address of its cut-out instead of its path."""
    path = row["cutout"]
    return row | {"cutout": path and f"/api/tasks/{task_id}/files/{quote(path)}"}
