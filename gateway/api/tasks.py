"""How does a client find, read, change and delete tasks?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement, Select, bindparam, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway import lifetime
from gateway.api import query, schemas, serializers
from gateway.api.access import get_locked_task, get_task, groups_named, refuse_while_running
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import field_config, read_body, warnings_of
from gateway.api.creation import LONGEST_NAME
from gateway.api.errors import invalid
from gateway.api.task_rows import TaskPlaced, placed_tasks
from gateway.audit import differences
from gateway.current import gateway
from gateway.models import Task, User
from gateway.openapi import NOTHING, documented
from gateway.permissions import Right, sees_all, visible_to
from gateway.search import Search, chosen, newest_first

blueprint = Blueprint("tasks", __name__)

_Page = list[schemas.TaskInList]

#: What a list says of a task. A configuration or a coverage of the sky may be long.
_LISTED: Select[*tuple[Any, ...]] = (
    select(
        Task.id,
        Task.original_name,
        Task.title,
        Task.state,
        Task.created,
        Task.modified,
        User.username.label("user"),
    )
    .select_from(Task)
    .join(User, User.id == Task.user_id)
    .order_by(Task.id.desc())
)
_LISTED_BY_NUMBER = _LISTED.where(Task.id.in_(bindparam("numbers", expanding=True)))
#: Of a longer page the database finds the tasks itself: a statement has room for so many numbers.
_MOST_BY_NUMBER = 1000


class TaskFilters(TypedDict, total=False):
    """Which tasks of a list are wanted."""

    query: Annotated[str, Field(description="Words to be found.", examples=["m51 alice"])]
    state: Annotated[str, Field(description="Exactly this one.", examples=["photometry_done"])]
    user: Annotated[str, Field(description="User name of the owner.", examples=["alice"])]


class _ListQuery(TaskFilters, total=False):
    limit: Annotated[int, Field(ge=0, description="Tasks on a page; all if 0.", examples=[50])]
    offset: Annotated[int, Field(ge=0, description="Tasks before the page.", examples=[0])]
    details: Annotated[
        bool, Field(description="Groups, place, target, too; with a limit.", examples=[False])
    ]


@schemas.exact
class _PageOfPlaced(schemas.Page):
    results: list[TaskPlaced]


_List = list[schemas.TaskInList] | schemas.TaskPage | _PageOfPlaced


class _TaskChange(TypedDict, total=False):
    original_name: schemas.Name
    title: schemas.Title
    config: Annotated[schemas.Config, Field(description="Replaces the present one.")]
    groups: Annotated[schemas.Groups, Field(description="Replace the present ones.")]


@blueprint.get("/tasks/")
@documented({200: _List}, query=_ListQuery, errors=(400,))
def list_tasks() -> ResponseReturnValue:
    """The tasks that the user may see, newest first; a page of them where a limit is given.

    Those at a place on the sky: see ``/api/coverage/``.
    """
    limit, offset, asked = _number("limit"), _number("offset") or 0, _asked()
    details = query.flag("details")
    if details and not 0 < (limit or 0) <= _MOST_BY_NUMBER:
        raise invalid(details=f"Give a limit of at most {_MOST_BY_NUMBER} with it.")
    with gateway().database.reading() as session:
        if not limit:
            found = chosen(session, asked)
            listed = _LISTED.where(Task.id.in_(found.statement))
            return jsonify(_rows(session, listed, found.values))
        page, count = _page(session, asked, limit, offset, details=details)
    return jsonify({"count": count, **query.neighbours(limit, offset, count), "results": page})


@blueprint.get("/tasks/<int:task_id>/")
@documented({200: schemas.TaskInFull})
def read_task(task_id: int) -> ResponseReturnValue:
    """All of a task."""
    with gateway().database.reading() as session:
        return jsonify(serializers.task_in_full(get_task(session, task_id, Right.VIEW)))


@blueprint.route("/tasks/<int:task_id>/", methods=["PATCH", "POST"])
@documented({200: schemas.TaskInFull}, body=_TaskChange, errors=(409,))
def update_task(task_id: int) -> ResponseReturnValue:
    """Change name, title, configuration or groups; what is not sent stays as it is."""
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        validated, before = field_config(body), _said_of(task)
        for name in ("original_name", "title"):
            if name in body:
                setattr(task, name, body.text(name, LONGEST_NAME))
        if not task.original_name:
            raise invalid(original_name="This field may not be blank.")
        if "config" in body:
            # A running stage has read it already, and its result would undo the change.
            refuse_while_running(task, "a change of its configuration")
            task.config = validated.config
        if "groups" in body:
            task.groups = groups_named(session, body.texts("groups"))
        session.flush()
        _remember_change(session, task.id, before, _said_of(task))
        answer = serializers.task_in_full(task)
    return jsonify({**answer, **warnings_of(validated)})


def _said_of(task: Task) -> dict[str, Any]:
    """What users may change of a task."""
    groups = [group.name for group in task.groups]
    names = ("original_name", "title", "config")
    return {name: getattr(task, name) for name in names} | {"groups": groups}


def _remember_change(
    session: Session, task_id: int, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """A changed configuration is an entry of its own, with each of its keys."""
    if changes := differences(before.pop("config"), after.pop("config")):
        remember_request(session, "config_change", task_id=task_id, changes=changes)
    if changes := differences(before, after):
        remember_request(session, "task_update", task_id=task_id, changes=changes)


@blueprint.delete("/tasks/<int:task_id>/")
@documented({204: NOTHING})
def delete_task(task_id: int) -> ResponseReturnValue:
    """Delete a task with its files; a run of it is cancelled first."""
    with gateway().database.writing() as session:
        delete_one(session, task_id)
    return Response(status=204)


def delete_one(session: Session, task_id: int) -> None:
    """Delete the task if the user may, as `lifetime.delete` does, which commits.

    Raises
    ------
    ApiError
        404 if there is no such task, 403 if it is not for this user.
    """
    task = get_locked_task(session, task_id, Right.DELETE)
    remember_request(session, "task_delete", task_id=task.id, original_name=task.original_name)
    session.flush()
    lifetime.delete(gateway(), session, task)


def _page(
    session: Session, asked: Search, limit: int, offset: int, *, details: bool
) -> tuple[Sequence[schemas.TaskFields], int]:
    """The tasks of a page, newest first, and how many there are on all pages."""
    if limit > _MOST_BY_NUMBER:
        found = chosen(session, asked)
        count = select(func.count()).select_from(found.statement.subquery())
        # To pass by the tasks of other pages their numbers are enough.
        page = found.statement.order_by(Task.id.desc()).limit(limit).offset(offset)
        rows = _rows(session, _LISTED.where(Task.id.in_(page)), found.values)
        return rows, session.scalar(count, found.values) or 0
    find = partial(newest_first, session, asked)
    numbers = gateway().listings.numbers(session, asked, find, of_state=bool(asked.state))
    on_page = numbers[offset : offset + limit].tolist()
    if details:
        return placed_tasks(session, on_page), len(numbers)
    return _rows(session, _LISTED_BY_NUMBER, {"numbers": on_page}) if on_page else [], len(numbers)


def _rows(session: Session, listed: Select[*tuple[Any, ...]], values: dict[str, Any]) -> _Page:
    return [serializers.task_in_list(row._mapping) for row in session.execute(listed, values)]


def wanted(session: Session) -> ColumnElement[bool]:
    """The condition on tasks that the user may see, and that are asked for (`TaskFilters`)."""
    asked = _asked()
    if asked == Search(viewer=asked.viewer):
        return visible_to(current_user())
    return chosen(session, asked).condition


def _asked() -> Search:
    """The tasks that are asked for."""
    user = current_user()
    return Search(
        viewer=None if sees_all(user) else user.id,
        words=tuple(query.text("query").split()),
        state=query.text("state"),
        owner=query.text("user"),
    )


def _number(name: str) -> int | None:
    """A number of the query; what is none counts as not given."""
    try:
        number = int(request.args.get(name, ""))
    except ValueError:
        return None
    return number if 0 <= number <= query.LARGEST_OFFSET else None
