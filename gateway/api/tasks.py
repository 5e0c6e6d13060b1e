"""How does a client find, read, change and delete tasks?"""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement, Select, func, or_, select
from typing_extensions import TypedDict

from gateway import lifetime
from gateway.api import query, schemas, serializers
from gateway.api.access import get_locked_task, get_task, groups_named, refuse_while_running
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user, gateway
from gateway.api.body import field_config, read_body, warnings_of
from gateway.api.creation import LONGEST_NAME
from gateway.api.errors import invalid
from gateway.models import Group, Task, User, task_groups
from gateway.openapi import NOTHING, documented
from gateway.permissions import Right, visible_to

blueprint = Blueprint("tasks", __name__)

#: What a list says of a task. A configuration or a coverage of the sky may be long.
_LISTED = (Task.id, Task.original_name, Task.title, Task.state, Task.created, Task.modified)


class _ListQuery(TypedDict, total=False):
    query: Annotated[str, Field(description="Words to be found.", examples=["m51 alice"])]
    state: Annotated[str, Field(description="Exactly this one.", examples=["photometry_done"])]
    user: Annotated[str, Field(description="User name of the owner.", examples=["alice"])]
    limit: Annotated[int, Field(ge=0, description="Tasks on a page; all if 0.", examples=[50])]
    offset: Annotated[int, Field(ge=0, description="Tasks before the page.", examples=[0])]


class _TaskChange(TypedDict, total=False):
    original_name: schemas.Name
    title: schemas.Title
    config: Annotated[schemas.Config, Field(description="Replaces the present one.")]
    groups: Annotated[schemas.Groups, Field(description="Replace the present ones.")]


@blueprint.get("/tasks/")
@documented({200: list[schemas.TaskInList] | schemas.TaskPage}, query=_ListQuery, errors=(400,))
def list_tasks() -> ResponseReturnValue:
    """The tasks that the user may see, newest first; a page of them where a limit is given."""
    limit, offset = _number("limit"), _number("offset") or 0
    chosen = _chosen()
    page = chosen.order_by(Task.id.desc())
    if limit:
        page = page.limit(limit).offset(offset)
    # Only the rows of the page are read in full; to pass by the others their numbers are enough.
    found = (
        select(*_LISTED, User.username.label("user"))
        .select_from(Task)
        .join(User, User.id == Task.user_id)
        .where(Task.id.in_(page))
        .order_by(Task.id.desc())
    )
    with gateway().database.reading() as session:
        rows = session.execute(found).all()
        results = [serializers.task_in_list(row._mapping) for row in rows]
        if not limit:
            return jsonify(results)
        count = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
    return jsonify(
        {
            "count": count,
            "next": query.page(limit, offset + limit) if offset + limit < count else None,
            "previous": query.page(limit, max(0, offset - limit)) if offset > 0 else None,
            "results": results,
        }
    )


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
    body = read_body()
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        validated = field_config(body)
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
        remember_request(
            session,
            "task_update",
            task_id=task.id,
            fields=sorted(body.fields.keys() & {"original_name", "title", "config", "groups"}),
        )
        session.flush()
        answer = serializers.task_in_full(task)
    return jsonify({**answer, **warnings_of(validated)})


@blueprint.delete("/tasks/<int:task_id>/")
@documented({204: NOTHING})
def delete_task(task_id: int) -> ResponseReturnValue:
    """Delete a task with its files; a run of it is cancelled first."""
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.DELETE)
        remember_request(
            session,
            "task_delete",
            task_id=task.id,
            original_name=task.original_name,
        )
        session.flush()
        lifetime.delete(gateway(), session, task)
    gateway().store.empty_trash()
    return Response(status=204)


def _chosen() -> Select[Any]:
    """The numbers of the tasks that are asked for."""
    chosen = select(Task.id).where(visible_to(current_user()))
    words, username = query.text("query").split(), query.text("user")
    if words or username:
        chosen = chosen.join(User, User.id == Task.user_id)
    chosen = chosen.where(*map(_matches, words))
    if state := query.text("state"):
        chosen = chosen.where(Task.state == state)
    if username:
        chosen = chosen.where(User.username == username)
    return chosen


def _matches(word: str) -> ColumnElement[bool]:
    """The word is somewhere in what a person calls the task, its owner or its groups."""
    columns: tuple[Any, ...] = (
        Task.original_name,
        Task.title,
        User.username,
        User.first_name,
        User.last_name,
    )
    shared = (
        select(task_groups.c.task_id)
        .join(Group, Group.id == task_groups.c.group_id)
        .where(Group.name.icontains(word, autoescape=True))
    )
    return or_(
        *(column.icontains(word, autoescape=True) for column in columns), Task.id.in_(shared)
    )


def _number(name: str) -> int | None:
    """A number of the query; what is none counts as not given."""
    try:
        number = int(request.args.get(name, ""))
    except ValueError:
        return None
    return number if 0 <= number <= query.LARGEST_OFFSET else None
