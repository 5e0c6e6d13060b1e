"""What was measured: in one task, and in all that the user may see?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import undefer

from gateway.api import query, tabular
from gateway.api.access import get_task
from gateway.api.auth import current_user, gateway
from gateway.api.errors import invalid, not_found
from gateway.measurements import columns
from gateway.measurements.products import Row, TaskProducts, read_products
from gateway.models import Task, TaskResults, User
from gateway.permissions import Right, visible_to
from skyrelay.stages import PHOTOMETRY

blueprint = Blueprint("results", __name__)

_MOST_TASKS, _USUAL_TASKS = 1000, 100
#: What the rows of an answer are about.
_KINDS = ("images", "targets", "candidates")


@blueprint.get("/tasks/<int:task_id>/results/")
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
        found = gateway().store.read_version(task_id, read_products)
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
