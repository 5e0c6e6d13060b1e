"""Who is asking?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from flask import Blueprint, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway import accounts
from gateway.api.body import read_body
from gateway.api.errors import ApiError, invalid, unauthenticated
from gateway.core import Gateway
from gateway.feed import FEED, Feed
from gateway.models import User
from gateway.openapi import documented

blueprint = Blueprint("auth", __name__)

_View = TypeVar("_View", bound=Callable[..., Any])
_OPEN = "_open_to_all"
#: Bytes. Anybody may send this request, and nobody may fill memory or disk with it.
_LARGEST_LOGIN = 64 * 1024


def gateway() -> Gateway:
    """The gateway that the present request has reached."""
    found: Gateway = current_app.extensions["skyrelay"]
    return found


def feed() -> Feed:
    """What this process hands on to those who watch tasks."""
    found: Feed = current_app.extensions[FEED]
    return found


def current_user() -> User:
    """Who sent the present request."""
    user: User = g.user
    return user


def open_to_all(view: _View) -> _View:
    """A view that needs no authentication."""
    setattr(view, _OPEN, True)
    return view


def is_open_to_all(view: Callable[..., Any]) -> bool:
    """Whether the view needs no authentication."""
    return getattr(view, _OPEN, False)


def require_user() -> None:
    """Find out who sent the request, before its view is called.

    Raises
    ------
    ApiError
        401 if nobody knows.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or is_open_to_all(view):
        return
    header = request.headers.get("Authorization", "")
    kind, _, key = header.partition(" ")
    if kind.lower() != "token":
        raise unauthenticated("Authentication credentials were not provided.")
    key = key.strip()
    if not key or " " in key:
        raise unauthenticated("Invalid token header. Write it as `Authorization: Token <key>`.")
    with gateway().database.reading() as session:
        user = accounts.user_of_key(session, key)
    if user is None:
        raise unauthenticated("Invalid token.")
    g.user = user


class _Login(TypedDict):
    username: Annotated[str, Field(examples=["alice"])]
    password: Annotated[str, Field(examples=["correct horse battery staple"])]


class _Token(TypedDict):
    token: Annotated[str, Field(examples=["9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b"])]


@blueprint.post("/auth/token/")
@open_to_all
@documented({200: _Token}, body=_Login)
def obtain_token() -> ResponseReturnValue:
    """The key of the user's token, for a user name and a password."""
    body = read_body(largest=_LARGEST_LOGIN, files_too=False)
    missing = {
        name: ["This field is required."]
        for name in ("username", "password")
        if not body.fields.get(name)
    }
    if missing:
        raise ApiError(400, missing)
    name, password = body.text("username", 1000), body.text("password", 10_000)
    with gateway().database.reading() as session:
        user = accounts.authenticate(session, name, password)
    if user is None:
        raise invalid(non_field_errors="Unable to log in with provided credentials.")
    with gateway().database.writing() as session:
        key = accounts.key_of(session, user, gateway().settings.secret_key)
    return jsonify({"token": key})
