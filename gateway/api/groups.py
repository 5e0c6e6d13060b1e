"""Who shares with whom: groups, and how an administrator fills them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from gateway.accounts.users import check_name, find_group
from gateway.api import account_schemas as schemas
from gateway.api.access import require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import Body, read_body
from gateway.api.errors import invalid, not_found, refused
from gateway.current import gateway
from gateway.models import LARGEST_ID, Group, User, user_groups
from gateway.openapi import NOTHING, documented
from skyrelay.errors import Permanent

blueprint = Blueprint("groups", __name__, url_prefix="/groups")


@blueprint.get("/")
@documented({200: list[schemas.GroupInList]})
def list_groups() -> ResponseReturnValue:
    """The groups with which one may share, by name, and how many are in each."""
    query = (
        select(Group.id, Group.name, func.count(user_groups.c.user_id).label("members"))
        .outerjoin(user_groups, user_groups.c.group_id == Group.id)
        .group_by(Group.id)
        .order_by(Group.name)
    )
    user = current_user()
    if not user.is_staff:
        own = select(user_groups.c.group_id).where(user_groups.c.user_id == user.id)
        query = query.where(Group.id.in_(own))
    with gateway().database.reading() as session:
        return jsonify([dict(row._mapping) for row in session.execute(query)])


@blueprint.post("/")
@documented({201: schemas.Group}, body=schemas.NewGroup, errors=(403, 409))
def make_group() -> ResponseReturnValue:
    """Make a group with these ``members``."""
    require_staff()
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        group = Group(name=_name(session, body))
        session.add(group)
        session.flush()
        _add(session, group, _users(session, body, "members"))
        remember_request(session, "group_create", id=group.id, name=group.name)
        return jsonify(_in_full(session, group)), 201


@blueprint.get("/<int:group_id>/")
@documented({200: schemas.Group}, errors=(403,))
def read_group(group_id: int) -> ResponseReturnValue:
    """A group with the names of its members; for those, and administrators."""
    with gateway().database.reading() as session:
        answer = _in_full(session, _find(session, group_id))
    if current_user().username not in answer["members"]:
        require_staff()
    return jsonify(answer)


@blueprint.patch("/<int:group_id>/")
@documented({200: schemas.Group}, body=schemas.GroupChange, errors=(403, 409))
def rename_group(group_id: int) -> ResponseReturnValue:
    """Give a group another name."""
    require_staff()
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        group = _find(session, group_id)
        if body.text("name", 1000) != group.name:
            group.name = _name(session, body)
        remember_request(session, "group_update", id=group.id, name=group.name)
        return jsonify(_in_full(session, group))


@blueprint.post("/<int:group_id>/members/")
@documented({200: schemas.Group}, body=schemas.MemberChange, errors=(403,))
def change_members(group_id: int) -> ResponseReturnValue:
    """Bring users into a group and out of it, as many at once as wanted: ``add``, ``remove``."""
    require_staff()
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        group = _find(session, group_id)
        added, removed = _users(session, body, "add"), _users(session, body, "remove")
        _add(session, group, added)
        gone = [user.id for user in removed]
        session.execute(
            delete(user_groups).where(
                user_groups.c.group_id == group.id, user_groups.c.user_id.in_(gone)
            )
        )
        remember_request(
            session,
            "group_members",
            id=group.id,
            name=group.name,
            added=[user.username for user in added],
            removed=[user.username for user in removed],
        )
        return jsonify(_in_full(session, group))


@blueprint.delete("/<int:group_id>/")
@documented({204: NOTHING}, errors=(403,))
def delete_group(group_id: int) -> ResponseReturnValue:
    """Remove a group; tasks that were shared with it are so no longer."""
    require_staff()
    with gateway().database.writing() as session:
        group = _find(session, group_id)
        remember_request(session, "group_delete", id=group.id, name=group.name)
        session.delete(group)
    return Response(status=204)


def _find(session: Session, group_id: int) -> Group:
    query = select(Group).where(Group.id == min(group_id, LARGEST_ID)).with_for_update(of=Group)
    group = session.scalar(query)
    if group is None:
        raise not_found()
    return group


def _name(session: Session, body: Body) -> str:
    name = body.text("name", 1000)
    try:
        check_name(name)
    except Permanent as error:
        raise invalid(name=str(error)) from error
    if find_group(session, name) is not None:
        raise refused(409, f"There is a group {name} already.")
    return name


def _users(session: Session, body: Body, field: str) -> list[User]:
    names = body.texts(field)
    query = select(User).where(User.username.in_(set(names)))
    found = {user.username: user for user in session.scalars(query)}
    for name in names:
        if name not in found:
            raise invalid(**{field: f"There is no user {name}."})
    return list(found.values())


def _add(session: Session, group: Group, users: list[User]) -> None:
    there = set(
        session.scalars(select(user_groups.c.user_id).where(user_groups.c.group_id == group.id))
    )
    rows = [{"group_id": group.id, "user_id": user.id} for user in users if user.id not in there]
    if rows:
        session.execute(user_groups.insert(), rows)


def _in_full(session: Session, group: Group) -> dict[str, Any]:
    members = select(User.username).join(user_groups).where(user_groups.c.group_id == group.id)
    names = session.scalars(members.order_by(User.username)).all()
    return {"id": group.id, "name": group.name, "members": list(names)}
