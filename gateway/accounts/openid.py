"""Which user is it whom an OpenID provider has let in?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.accounts.users import create_user, find_user, is_last_administrator
from gateway.models import User
from skyrelay.errors import Permanent
from skyrelay.settings import Settings

#: Claims that may name the user, the best first.
_NAMES = ("preferred_username", "email", "sub")
_LONGEST = {
    "first_name": ("given_name", 150),
    "last_name": ("family_name", 150),
    "email": ("email", 254),
}


def user_of(session: Session, claims: Mapping[str, Any], settings: Settings) -> User:
    """The user of these claims of a checked ID token; made at the first time, if that is allowed.

    A user who exists already is not taken for the one of the same name at the provider: an
    administrator says so, by the user's field ``openid``.

    Raises
    ------
    Permanent
        If there is no such user, or the account is switched off: says why.
    """
    openid = f"{claims['iss']} {claims['sub']}"
    user = session.scalar(select(User).where(User.openid == openid))
    if user is None:
        user = _made(session, openid, claims, settings)
    if not user.is_active:
        raise Permanent(f"The user {user.username} is switched off.")
    for field, (claim, longest) in _LONGEST.items():
        if isinstance(claims.get(claim), str):
            setattr(user, field, claims[claim].replace("\0", "")[:longest])
    if settings.skyrelay_oidc_staff_group:
        _set_staff(session, user, settings.skyrelay_oidc_staff_group in _groups(claims))
    session.flush()
    return user


def _made(session: Session, openid: str, claims: Mapping[str, Any], settings: Settings) -> User:
    if not settings.skyrelay_oidc_create_users:
        raise Permanent(
            f"Nobody here is known to the provider as {claims['sub']}: ask an administrator to "
            f"set the field openid of your user to '{openid}'."
        )
    name = next(str(claims[claim]) for claim in _NAMES if claims.get(claim))
    if find_user(session, name) is not None:
        raise Permanent(
            f"There is a user {name} already: ask an administrator to set its field openid to "
            f"'{openid}' if that is you."
        )
    user = create_user(session, name, "")
    user.openid = openid
    return user


def _groups(claims: Mapping[str, Any]) -> list[Any]:
    groups = claims.get("groups")
    return groups if isinstance(groups, list) else []


def _set_staff(session: Session, user: User, staff: bool) -> None:
    # The last administrator stays one, whatever the provider says.
    user.is_staff = staff or is_last_administrator(session, user)
