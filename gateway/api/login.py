"""How does a program get its token, and a browser its cookie?"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from gateway import accounts
from gateway.accounts import passwords, throttle, tokens
from gateway.api import account_schemas as schemas
from gateway.api import serializers
from gateway.api.auditing import remember_request, remote_address
from gateway.api.auth import CSRF_COOKIE, SESSION_COOKIE, current_user, open_to_all
from gateway.api.body import Body, read_body
from gateway.api.errors import ApiError, detail, invalid, throttled
from gateway.current import gateway
from gateway.models import User
from gateway.openapi import NOTHING, documented
from skyrelay.errors import Permanent

blueprint = Blueprint("auth", __name__, url_prefix="/auth")

#: Bytes. Anybody may send these requests, and nobody may fill memory or disk with them.
_LARGEST = 64 * 1024
_WRONG = "Unable to log in with provided credentials."


@blueprint.post("/token/")
@open_to_all
@documented({200: schemas.TokenKey}, body=schemas.Credentials, errors=(429,))
def obtain_token() -> ResponseReturnValue:
    """The key of the user's token, for a user name and a password."""
    user = _authenticated(_read("username", "password"))
    with gateway().database.writing() as session:
        key = accounts.key_of(session, user, gateway().settings.secret_key)
    return jsonify({"token": key})


@blueprint.post("/login/")
@open_to_all
@documented({200: schemas.LoggedIn}, body=schemas.Credentials, errors=(403, 429))
def log_in() -> ResponseReturnValue:
    """Begin a session of a browser, which gets cookies for a user name and a password."""
    refuse_other_sites()
    user = _authenticated(_read("username", "password"))
    response = jsonify({"user": serializers.user(user)})
    with gateway().database.writing() as session:
        begin_session(session, user, response)
    return response


@blueprint.post("/logout/")
@documented({204: NOTHING}, body=schemas.Logout)
def log_out() -> ResponseReturnValue:
    """End the session of this browser; ``everywhere``: all sessions of this user."""
    everywhere = read_body(files_too=False, largest=_LARGEST).fields.get("everywhere")
    with gateway().database.writing() as session:
        if everywhere in (True, "1", "true"):
            tokens.end_sessions(session, current_user())
        tokens.end_session(session, request.cookies.get(SESSION_COOKIE, ""))
        remember_request(session, "logout")
    response = Response(status=204)
    for name in (SESSION_COOKIE, CSRF_COOKIE):
        response.delete_cookie(name)
    return response


@blueprint.post("/password/")
@documented({204: NOTHING}, body=schemas.PasswordChange, errors=(429,))
def change_password() -> ResponseReturnValue:
    """Change one's password, which logs out all browsers; tokens stay."""
    body = _read("old_password", "new_password")
    user, new = current_user(), body.text("new_password", 10_000)
    _spend_try(user.username)
    if not passwords.matches(user.password_hash, body.text("old_password", 10_000)):
        raise invalid(old_password="This is not your password.")
    try:
        passwords.check(new, user.username)
    except Permanent as error:
        raise invalid(new_password=str(error)) from error
    hashed = passwords.hash_of(new)
    with gateway().database.writing() as session:
        session.get_one(User, user.id).password_hash = hashed
        throttle.forgive(session, user.username, remote_address())
        tokens.end_sessions(session, user)
        remember_request(session, "password_change")
    return Response(status=204)


def begin_session(session: Session, user: User, response: BaseResponse) -> None:
    """Log a browser in: the session begins with the transaction, the cookies go out with the
    response."""
    days = gateway().settings.skyrelay_session_days
    key = tokens.begin_session(session, user, days)
    remember_request(session, "login", user=user)
    csrf = tokens.csrf_token(gateway().settings.secret_key, key)
    for name, value, hidden in ((SESSION_COOKIE, key, True), (CSRF_COOKIE, csrf, False)):
        response.set_cookie(
            name,
            value,
            max_age=int(days * 86400),
            httponly=hidden,
            secure=request.is_secure,
            samesite="Lax",
        )


def refuse_other_sites() -> None:
    """403 if a page of somebody else's sends this request: it would log its reader in as others."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise detail(403, "CSRF Failed: Origin checking failed.")


def _read(*names: str) -> Body:
    """The body, in which none of these fields may be missing."""
    body = read_body(largest=_LARGEST, files_too=False)
    missing = {name: ["This field is required."] for name in names if not body.fields.get(name)}
    if missing:
        raise ApiError(400, missing)
    return body


def _authenticated(body: Body) -> User:
    """The user of the name and password in the body.

    Raises
    ------
    ApiError
        400 if there is none, 429 if that was tried too often.
    """
    name, password = body.text("username", 1000), body.text("password", 10_000)
    _spend_try(name)
    with gateway().database.reading() as session:
        user = accounts.authenticate(session, name, password)
    with gateway().database.writing() as session:
        if user is None:
            remember_request(session, "login_failed", username=name[:150])
        else:
            throttle.forgive(session, name, remote_address())
            _strengthen(session, user, password)
    if user is None:
        raise invalid(non_field_errors=_WRONG)
    return user


def _spend_try(name: str) -> None:
    with gateway().database.writing() as session:
        wait = throttle.spend(session, name, remote_address())
    if wait:
        raise throttled(wait)


def _strengthen(session: Session, user: User, password: str) -> None:
    """Hash the password as is usual today, where it was hashed with less effort."""
    if passwords.is_outdated(user.password_hash):
        session.get_one(User, user.id).password_hash = passwords.hash_of(password)
