"""What do users see and change of their own account: names, tokens?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from typing_extensions import TypedDict

from gateway.accounts import quotas, tokens
from gateway.api import account_schemas as schemas
from gateway.api import serializers
from gateway.api.access import require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import Body, parse_moment, read_body
from gateway.api.errors import invalid, not_found, refused
from gateway.current import gateway
from gateway.models import LARGEST_ID, ApiToken, User, now
from gateway.openapi import NOTHING, documented
from skyrelay.errors import Permanent

blueprint = Blueprint("account", __name__)

_LONGEST_TOKEN_NAME = 100
#: Longest texts that users may change in their own account.
_OWN_FIELDS = {"first_name": 150, "last_name": 150, "email": 254}


class _OfUser(TypedDict, total=False):
    user: Annotated[str, Field(description="Administrators only.", examples=["bob"])]


@blueprint.get("/user/")
@documented({200: schemas.Account})
def read_account() -> ResponseReturnValue:
    """Who one is, what one may do, and how much of it is used up."""
    # What is measured for it is kept.
    with gateway().database.writing() as session:
        user = session.get_one(User, current_user().id)
        used = quotas.usage_of(gateway(), session, user)
        most = quotas.as_dict(quotas.quota_of(user, gateway().settings))
        groups = [group.name for group in user.groups]
        more = {"groups": groups, "quota": most, "used": used}
        return jsonify(serializers.user(user) | more)


@blueprint.patch("/user/")
@documented({200: schemas.User}, body=schemas.AccountChange)
def update_account() -> ResponseReturnValue:
    """Change one's name or address of mail."""
    body = read_body(files_too=False)
    changed = {name: body.text(name, _OWN_FIELDS[name]) for name in _OWN_FIELDS if name in body}
    with gateway().database.writing() as session:
        user = session.get_one(User, current_user().id)
        for name, value in changed.items():
            setattr(user, name, value)
        remember_request(session, "user_update", id=user.id, fields=sorted(changed))
        return jsonify(serializers.user(user))


@blueprint.get("/tokens/")
@documented({200: list[schemas.Token]}, query=_OfUser, errors=(403, 404))
def list_tokens() -> ResponseReturnValue:
    """One's tokens, without their keys; an administrator sees those of ``?user=``."""
    query = select(ApiToken).join(ApiToken.user).order_by(ApiToken.id)
    name = request.args.get("user", current_user().username)
    if name != current_user().username:
        require_staff()
    if "\0" in name:
        raise not_found()
    with gateway().database.reading() as session:
        found = session.scalars(query.where(User.username == name)).all()
        return jsonify([serializers.token(token) for token in found])


@blueprint.post("/tokens/")
@documented({201: schemas.Token}, body=schemas.NewToken, errors=(409,))
def make_token() -> ResponseReturnValue:
    """Make a token with a name and, if wanted, a moment at which it expires. Its key is told
    this once."""
    body = read_body(files_too=False)
    name = body.text("name", _LONGEST_TOKEN_NAME).strip()
    if not name:
        raise invalid(name="This field is required.")
    expires = _moment(body, "expires")
    with gateway().database.writing() as session:
        try:
            token, key = tokens.make_token(session, current_user(), name, expires)
        except Permanent as error:
            raise refused(409, str(error)) from error
        remember_request(session, "token_create", token=token.id, name=name)
        return jsonify(serializers.token(token) | {"token": key}), 201


@blueprint.delete("/tokens/<int:token_id>/")
@documented({204: NOTHING}, errors=(403,))
def revoke_token(token_id: int) -> ResponseReturnValue:
    """Revoke a token."""
    with gateway().database.writing() as session:
        token = session.get(ApiToken, token_id) if token_id <= LARGEST_ID else None
        if token is None:
            raise not_found()
        if token.user_id != current_user().id:
            require_staff()
        remember_request(session, "token_revoke", token=token.id, name=token.name)
        session.delete(token)
    return Response(status=204)


def _moment(body: Body, name: str) -> datetime | None:
    """A moment in the future; None if there is none."""
    text = body.text(name, 100)
    if not text:
        return None
    moment = parse_moment(name, text)
    if moment <= now():
        raise invalid(**{name: "This moment is over."})
    return moment
