"""How does an administrator make, change and remove users?"""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload
from typing_extensions import TypedDict

from gateway import accounts
from gateway.accounts import passwords, tokens
from gateway.accounts.users import PERMISSIONS, check_name, find_user, is_last_administrator
from gateway.api import account_schemas as schemas
from gateway.api import serializers
from gateway.api.access import groups_named, require_staff
from gateway.api.auditing import remember_request
from gateway.api.body import Body, read_body
from gateway.api.errors import invalid, not_found, refused
from gateway.current import gateway
from gateway.models import LARGEST_ID, User
from gateway.openapi import NOTHING, documented
from skyrelay.errors import Permanent

blueprint = Blueprint("users", __name__, url_prefix="/users")

_TEXTS = {"first_name": 150, "last_name": 150, "email": 254}
_FLAGS = ("is_active", "is_staff", *PERMISSIONS)
#: The largest number that the column of each quota takes.
_QUOTAS = {"quota_tasks": LARGEST_ID, "quota_bytes": 2**62, "quota_runs": LARGEST_ID}
_LONGEST_OPENID = 500
_WORDS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


class _Query(TypedDict, total=False):
    query: Annotated[str, Field(description="A part of the name.", examples=["ali"])]


@blueprint.before_request
def _only_staff() -> None:
    require_staff()


@blueprint.get("/")
@documented({200: list[schemas.UserForStaff]}, query=_Query, errors=(400, 403))
def list_users() -> ResponseReturnValue:
    """All users, by name; those with ``?query=`` in their name only."""
    query = select(User).options(selectinload(User.groups)).order_by(User.username)
    word = request.args.get("query", "")
    if "\0" in word:
        raise invalid(query="Null characters are not allowed.")
    if word:
        query = query.where(User.username.icontains(word, autoescape=True))
    with gateway().database.reading() as session:
        return jsonify([serializers.user_for_staff(user) for user in session.scalars(query)])


@blueprint.post("/")
@documented({201: schemas.UserForStaff}, body=schemas.UserChange, errors=(403,))
def make_user() -> ResponseReturnValue:
    """Make a user. Without a password only tokens and OpenID open the door."""
    body = read_body(files_too=False)
    name = body.text("username", 1000)
    with gateway().database.writing() as session:
        try:
            user = accounts.create_user(session, name, "")
        except Permanent as error:
            raise invalid(username=str(error)) from error
        changed = _change(session, user, body)
        remember_request(session, "user_create", id=user.id, name=name, fields=changed)
        return jsonify(serializers.user_for_staff(user)), 201


@blueprint.get("/<int:user_id>/")
@documented({200: schemas.UserForStaff}, errors=(403,))
def read_user(user_id: int) -> ResponseReturnValue:
    """One user."""
    with gateway().database.reading() as session:
        return jsonify(serializers.user_for_staff(_find(session, user_id)))


@blueprint.patch("/<int:user_id>/")
@documented({200: schemas.UserForStaff}, body=schemas.UserChange, errors=(403, 409))
def update_user(user_id: int) -> ResponseReturnValue:
    """Change what is sent of a user: name, password, groups, rights, quotas."""
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        user = _find(session, user_id)
        last = is_last_administrator(session, user)
        changed = _change(session, user, body)
        if last and not (user.is_staff and user.is_active):
            raise refused(409, "Nobody could administer this installation any more.")
        if not user.is_active:
            tokens.end_sessions(session, user)
        remember_request(session, "user_update", id=user.id, fields=changed)
        session.flush()
        return jsonify(serializers.user_for_staff(user))


@blueprint.delete("/<int:user_id>/")
@documented({204: NOTHING}, errors=(403, 409))
def delete_user(user_id: int) -> ResponseReturnValue:
    """Remove a user who has no tasks. One who has is switched off with ``is_active`` instead."""
    with gateway().database.writing() as session:
        user = _find(session, user_id)
        if is_last_administrator(session, user):
            raise refused(409, "Nobody could administer this installation any more.")
        remember_request(session, "user_delete", id=user.id, name=user.username)
        try:
            session.delete(user)
            session.flush()
        except IntegrityError as error:
            raise refused(
                409, "The user has tasks: delete these first, or set is_active to false."
            ) from error
    return Response(status=204)


def _find(session: Session, user_id: int) -> User:
    query = select(User).where(User.id == min(user_id, LARGEST_ID)).with_for_update(of=User)
    user = session.scalar(query.execution_options(populate_existing=True))
    if user is None:
        raise not_found()
    return user


def _change(session: Session, user: User, body: Body) -> list[str]:
    """Set what the body has of a user; the names of these fields."""
    values: dict[str, Any] = {
        n: body.text(n, longest) for n, longest in _TEXTS.items() if n in body
    }
    values |= {name: _flag(body, name) for name in _FLAGS if name in body}
    values |= {name: _quota(body, name) for name in _QUOTAS if name in body}
    if "openid" in body:
        values["openid"] = _openid(session, user, body)
    if "groups" in body:
        values["groups"] = groups_named(session, body.texts("groups"))
    if "username" in body:
        values["username"] = _name(session, user, body)
    for name, value in values.items():
        setattr(user, name, value)
    if body.fields.get("password"):
        _set_password(session, user, body.text("password", 10_000))
        return sorted({*values, "password"})
    return sorted(values)


def _name(session: Session, user: User, body: Body) -> str:
    name = body.text("username", 1000)
    try:
        check_name(name)
    except Permanent as error:
        raise invalid(username=str(error)) from error
    if find_user(session, name) not in (None, user):
        raise invalid(username=f"There is a user {name} already.")
    return name


def _openid(session: Session, user: User, body: Body) -> str | None:
    openid = body.text("openid", _LONGEST_OPENID) or None
    taken = select(User.id).where(User.openid == openid, User.id != user.id)
    if openid and session.scalar(taken) is not None:
        raise invalid(openid="Another user has it already.")
    return openid


def _set_password(session: Session, user: User, password: str) -> None:
    try:
        passwords.check(password, user.username)
    except Permanent as error:
        raise invalid(password=str(error)) from error
    user.password_hash = passwords.hash_of(password)
    tokens.end_sessions(session, user)


def _flag(body: Body, name: str) -> bool:
    value = body.fields[name]
    found = _WORDS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise invalid(**{name: "Must be a valid boolean."})
    return found


def _quota(body: Body, name: str) -> int | None:
    number = body.integer(name)
    if number is not None and not 0 <= number <= _QUOTAS[name]:
        raise invalid(**{name: f"Must lie between 0 (no limit) and {_QUOTAS[name]}."})
    return number
