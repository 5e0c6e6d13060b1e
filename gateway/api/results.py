"""What was measured: in one task, and in all that the user may see?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Any, Literal
from urllib.parse import quote

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, undefer
from typing_extensions import TypedDict

from gateway.api import query, schemas, tabular
from gateway.api.access import get_task
from gateway.api.auth import current_user
from gateway.api.errors import invalid, not_found
from gateway.current import gateway
from gateway.measurements import columns
from gateway.measurements.products import READ, Row, TaskProducts, read_products
from gateway.measurements.votable import MOST_ROWS
from gateway.models import Task, TaskResults, User
from gateway.openapi import documented
from gateway.permissions import Right, visible_to
from skyrelay.stages import PHOTOMETRY

blueprint = Blueprint("results", __name__)

_MOST_TASKS, _USUAL_TASKS = 1000, 100
#: Rows of one task: two tables of each kind are looked at.
_MOST_ROWS = 2 * MOST_ROWS
#: What the rows of an answer are about.
_KINDS = ("images", "targets", "candidates")


class _OfTask(TypedDict, total=False):
    of: Annotated[
        Literal["targets", "candidates"],
        Field(description="These rows alone.", examples=["targets"]),
    ]
    format: tabular.Format
    limit: Annotated[schemas.Limit, Field(description="Rows on a page; all, if not given.")]
    offset: schemas.Offset


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
    n_targets: Annotated[int, Field(description="On all pages.", examples=[1])]
    targets: Annotated[Any, tabular.rows_of(columns.TARGETS_OF_TASK)]
    n_candidates: Annotated[int, Field(description="On all pages.", examples=[1])]
    candidates: Annotated[Any, tabular.rows_of(columns.CANDIDATES_OF_TASK)]
    stages: Annotated[
        dict[str, Any],
        Field(
            description="By step: all its values, and what is missing.",
            examples=[{"photometry": {"degraded": [], "values": {}}}],
        ),
    ]
    unreadable: Annotated[
        list[str],
        Field(
            description=f"Files that are broken, or have more than {MOST_ROWS} rows.",
            examples=[["target.vot"]],
        ),
    ]
    next: schemas.NextPage
    previous: schemas.PreviousPage


class _Rows(TypedDict):
    count: Annotated[int, Field(description="Rows on all pages.", examples=[1])]
    next: schemas.NextPage
    previous: schemas.PreviousPage
    results: Annotated[Any, tabular.rows_of(columns.TARGETS_OF_TASK, columns.CANDIDATES_OF_TASK)]


class _Page(TypedDict):
    count: Annotated[int, Field(description="Tasks on all pages.", examples=[1])]
    next: schemas.NextPage
    previous: schemas.PreviousPage
    results: Annotated[Any, tabular.rows_of(columns.IMAGES, columns.TARGETS, columns.CANDIDATES)]


@blueprint.get("/tasks/<int:task_id>/results/")
@documented({200: tabular.table(_TaskResults | _Rows)}, query=_OfTask, errors=(400, 406))
def results_of_task(task_id: int) -> ResponseReturnValue:
    """All that was measured in the task, as its products say it now.

    JSON holds everything; ``of=targets`` or ``of=candidates`` gives the rows alone, as a table in
    any format. With ``limit`` the rows of targets and of candidates come in pages.
    """
    kind = _kind(default="")
    form = tabular.wanted_format()
    limit = query.integer("limit", least=1, most=_MOST_ROWS, default=_MOST_ROWS)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    with gateway().database.reading() as session:
        task = get_task(session, task_id, Right.VIEW)
    try:
        found = gateway().store.read_version(task_id, read_products, READ)
    except FileNotFoundError:
        raise not_found() from None
    page = slice(offset, offset + limit)
    candidates = [_linked(task_id, row) for row in found.candidates[page]]
    if kind == "candidates":
        count = len(found.candidates)
        around = {"count": count, **query.neighbours(limit, offset, count)}
        return tabular.answer(columns.CANDIDATES_OF_TASK, candidates, form, kind, around)
    if kind == "targets" or form != "json":
        count = len(found.targets)
        around = {"count": count, **query.neighbours(limit, offset, count)}
        rows = found.targets[page]
        return tabular.answer(columns.TARGETS_OF_TASK, rows, form, "targets", around)
    longest = max(len(found.targets), len(found.candidates))
    return jsonify(
        {
            "id": task.id,
            "original_name": task.original_name,
            "state": task.state,
            "celery_id": task.celery_id,
            **_summary(task, found),
            "n_targets": len(found.targets),
            "targets": found.targets[page],
            "n_candidates": len(found.candidates),
            "candidates": candidates,
            "stages": found.stages,
            "unreadable": found.unreadable,
            **query.neighbours(limit, offset, longest),
        }
    )


@blueprint.get("/results/")
@documented({200: tabular.table(_Page)}, query=_Filters, errors=(400, 406))
def results() -> ResponseReturnValue:
    """What was measured in all tasks, the newest tasks first.

    ``of``: one row per task (images), per measurement of a target, or per candidate. A page holds
    the rows of ``limit`` tasks; of fewer, where these have many thousands of rows: ``next`` knows.
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
    with gateway().database.reading() as session:
        count = session.scalar(counted) or 0
        if kind != "images":
            limit = _tasks_on_page(session, kind, conditions, limit, offset)
            selected = selected.options(undefer(getattr(TaskResults, kind)))
        found = session.execute(selected.order_by(Task.id.desc()).limit(limit).offset(offset)).all()
    rows = [row for result, task, name in found for row in _rows(kind, result, task, name)]
    around = {"count": count, **query.neighbours(limit, offset, count)}
    shown = {"images": columns.IMAGES, "targets": columns.TARGETS}.get(kind, columns.CANDIDATES)
    return tabular.answer(shown, rows, form, kind, around)


def _tasks_on_page(
    session: Session, kind: str, conditions: list[ColumnElement[bool]], limit: int, offset: int
) -> int:
    """How many of the ``limit`` tasks have together no more rows than one answer may hold."""
    counts = session.scalars(
        select(getattr(TaskResults, f"n_{kind}"))
        .join(Task, Task.id == TaskResults.task_id)
        .join(User, User.id == Task.user_id)
        .where(*conditions)
        .order_by(Task.id.desc())
        .limit(limit)
        .offset(offset)
    ).all()
    fitting = sum(total <= _MOST_ROWS for total in accumulate(counts))
    # Of one task alone there are never more; the last page may be short.
    return max(1, fitting) if fitting < len(counts) else limit


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
