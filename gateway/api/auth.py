"""Who is asking: a program with its token, or a browser with its cookie?"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from gateway.accounts import tokens
from gateway.api.body import read_body
from gateway.api.errors import detail, unauthenticated
from gateway.current import gateway
from gateway.models import LARGEST_ID, Task, User
from skyrelay import logs

_View = TypeVar("_View", bound=Callable[..., Any])
_OPEN = "_open_to_all"
_TELLS_STANDING = "_tells_standing"
_IS_CALLED_BY_SERVICES = "_is_called_by_services"
_SAFE = ("GET", "HEAD", "OPTIONS")
_NOT_PROVIDED = "Authentication credentials were not provided."

#: Names that STDWeb's pages and scripts know.
SESSION_COOKIE, CSRF_COOKIE, CSRF_HEADER = "sessionid", "csrftoken", "X-CSRFToken"


def current_user() -> User:
    """Who sent the present request."""
    user: User = g.user
    return user


def open_to_all(view: _View) -> _View:
    """A view that needs no authentication."""
    setattr(view, _OPEN, True)
    return view


def tells_standing(view: _View) -> _View:
    """A view that clients ask again and again, of a task of which it needs only how it stands.

    For them it is looked up together with the user; see `standing_task`.
    """
    setattr(view, _TELLS_STANDING, True)
    return view


def called_by_services(view: _View) -> _View:
    """A view for services, which may show a key in other ways than programs do."""
    setattr(view, _IS_CALLED_BY_SERVICES, True)
    return view


def is_called_by_services(view: Callable[..., Any]) -> bool:
    """Whether the view takes keys that are shown in other ways than programs do."""
    return getattr(view, _IS_CALLED_BY_SERVICES, False)


def standing_task() -> Task | None:
    """The task that was looked up together with the user, if it was."""
    task: Task | None = g.get("standing")
    return task


def is_open_to_all(view: Callable[..., Any]) -> bool:
    """Whether the view needs no authentication."""
    return getattr(view, _OPEN, False)


def require_user() -> None:
    """Find out who sent the request, before its view is called.

    Raises
    ------
    ApiError
        401 if nobody knows, 403 if a browser was sent here by a page of somebody else's.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or is_open_to_all(view):
        return
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "token":
        g.user, g.access = _user_of_token(key.strip(), _task_of(view)), "api"
    elif SESSION_COOKIE in request.cookies:
        g.user, g.access = _user_of_cookie(request.cookies[SESSION_COOKIE]), "web"
    elif is_called_by_services(view):
        g.user, g.access = _user_of_service(), "api"
    else:
        raise unauthenticated(_NOT_PROVIDED)
    logs.know(user=g.user.username)


def _user_of_service() -> User:
    """The user of a key that is the password of a user, or the field ``api_key`` of a JSON body.

    No browser asks for such a password, so that a page of somebody else's can make none send it.
    """
    shown = request.authorization
    if shown is not None and shown.type == "basic":
        user = _user_of_token(shown.password or "", None)
        if user.username != shown.username:
            raise unauthenticated("Invalid token: it is another user's.")
        return user
    if request.mimetype == "application/json":
        key = read_body(files_too=False).fields.get("api_key")
        if key and isinstance(key, str):
            return _user_of_token(key, None)
    raise unauthenticated(_NOT_PROVIDED)


def _task_of(view: Callable[..., Any]) -> int | None:
    """The task of which the view tells how it stands; None if it tells anything else."""
    task: int = (request.view_args or {}).get("task_id", 0)
    return task if getattr(view, _TELLS_STANDING, False) and task <= LARGEST_ID else None


def _user_of_token(key: str, task_id: int | None) -> User:
    if not key or " " in key:
        raise unauthenticated("Invalid token header. Write it as `Authorization: Token <key>`.")
    with gateway().database.reading() as session:
        owner = tokens.owner_of_key(session, key, task_id)
    if owner is None:
        raise unauthenticated("Invalid token.")
    g.standing = owner.task
    if tokens.is_worth_noting(owner.last_used):
        with gateway().database.writing() as session:
            tokens.note_use(session, owner.token)
    return owner.user


def _user_of_cookie(key: str) -> User:
    with gateway().database.reading() as session:
        user = tokens.user_of_session(session, key)
    if user is None:
        raise unauthenticated(_NOT_PROVIDED)
    if request.method not in _SAFE:
        given = request.headers.get(CSRF_HEADER, "")
        right = tokens.csrf_token(gateway().settings.secret_key, key)
        if not hmac.compare_digest(given.encode(), right.encode()):
            state = "incorrect" if given else "missing"
            raise detail(403, f"CSRF Failed: CSRF token {state}.")
    return user
