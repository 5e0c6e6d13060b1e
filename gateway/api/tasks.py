"""How does a client find, read, change and delete tasks?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session
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
from gateway.permissions import Right, sees_all, visible_to

blueprint = Blueprint("tasks", __name__)

#: What a list says of a task. A configuration or a coverage of the sky may be long.
_LISTED = (
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
)
#: Of a longer page the database finds the tasks itself: a statement has room for so many numbers.
_MOST_BY_NUMBER = 1000


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
    with gateway().database.reading() as session:
        if not limit:
            return jsonify(_rows(session, Task.id.in_(_chosen(session))))
        page, count = _page(session, limit, offset)
        results = _rows(session, page)
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


def _page(session: Session, limit: int, offset: int) -> tuple[ColumnElement[bool], int]:
    """The condition on tasks of a page, and how many there are on all pages."""
    listings, user = gateway().listings, current_user()
    if query.text("state") or limit > _MOST_BY_NUMBER:
        chosen = _chosen(session)
        count = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
        # To pass by the tasks of other pages their numbers are enough.
        page = chosen.order_by(Task.id.desc()).limit(limit).offset(offset)
        return Task.id.in_(page), count
    key = (None if sees_all(user) else user.id, query.text("query"), query.text("user"))
    numbers = listings.numbers(session, key, lambda: _chosen(session))
    return Task.id.in_(numbers[offset : offset + limit].tolist()), len(numbers)


def _rows(session: Session, chosen: ColumnElement[bool]) -> list[schemas.TaskInList]:
    """These tasks, newest first, as a list shows them."""
    found = session.execute(_LISTED.where(chosen).order_by(Task.id.desc()))
    return [serializers.task_in_list(row._mapping) for row in found]


def _chosen(session: Session) -> Select[Any]:
    """The numbers of the tasks that are asked for."""
    chosen = select(Task.id).where(visible_to(current_user()))
    if words := query.text("query").split():
        chosen = chosen.where(*_matching(session, words))
    if state := query.text("state"):
        chosen = chosen.where(Task.state == state)
    if username := query.text("user"):
        owner = select(User.id).where(User.username == username).scalar_subquery()
        chosen = chosen.where(Task.user_id == owner)
    return chosen


def _matching(session: Session, words: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Each word is somewhere in what a person calls the task, its owner or its groups.

    Owners and groups are looked up first: only without them can the indexes of the words be used.
    """
    names = (User.username, User.first_name, User.last_name)
    owners = _named(session, User.id, names, words)
    groups = _named(session, Group.id, (Group.name,), words)
    for word, some_owners, some_groups in zip(words, owners, groups, strict=True):
        ways = [_contains(Task.original_name, word), _contains(Task.title, word)]
        if some_owners:
            ways.append(Task.user_id.in_(some_owners))
        if some_groups:
            shared = select(task_groups.c.task_id).where(task_groups.c.group_id.in_(some_groups))
            ways.append(Task.id.in_(shared))
        yield or_(*ways)


def _named(
    session: Session, number: Any, names: Sequence[Any], words: Sequence[str]
) -> list[list[int]]:
    """For each word, the numbers of those in one of whose names it is."""
    matches = [or_(*(_contains(name, word) for name in names)) for word in words]
    found = session.execute(select(number, *matches).where(or_(*matches))).all()
    return [[row[0] for row in found if row[place]] for place in range(1, len(words) + 1)]


def _contains(column: Any, word: str) -> ColumnElement[bool]:
    escaped = word.replace("/", "//").replace("%", "/%").replace("_", "/_")
    contains: ColumnElement[bool] = column.ilike(f"%{escaped}%", escape="/")
    return contains


def _number(name: str) -> int | None:
    """A number of the query; what is none counts as not given."""
    try:
        number = int(request.args.get(name, ""))
    except ValueError:
        return None
    return number if 0 <= number <= query.LARGEST_OFFSET else None
