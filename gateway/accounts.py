"""How are users made, and how do they prove who they are?

A token's key is never stored. It is derived from the installation's secret key and the token's
nonce, so that it can be shown again to its user; the database knows its hash alone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload
from werkzeug.security import check_password_hash, generate_password_hash

from gateway.models import ApiToken, User, now
from skyrelay.errors import Permanent

#: The token that `POST /api/auth/token/` and the command line hand out.
DEFAULT_TOKEN = "api"
_KEY_LENGTH = 40


def create_user(session: Session, name: str, password: str, *, staff: bool = False) -> User:
    """A new user. With an empty password only tokens open the door.

    Raises
    ------
    Permanent
        If the name is taken or unusable.
    """
    if not name or len(name) > 150 or not name.isprintable() or name != name.strip():
        raise Permanent(f"{name!r} is no name for a user: take up to 150 printable characters.")
    if session.scalar(select(User.id).where(User.username == name)) is not None:
        raise Permanent(f"There is a user {name} already.")
    user = User(username=name, password_hash=hash_of(password), is_staff=staff)
    session.add(user)
    session.flush()
    return user


def hash_of(password: str) -> str:
    """What is stored of a password; nothing matches the hash of an empty one."""
    return generate_password_hash(password) if password else ""


def find_user(session: Session, name: str) -> User | None:
    """The user of this name."""
    return session.scalar(select(User).where(User.username == name))


def authenticate(session: Session, name: str, password: str) -> User | None:
    """The active user of this name and password."""
    user = find_user(session, name)
    right = check_password_hash(user.password_hash if user else _hash_of_nobody(), password)
    return user if user and right and user.is_active else None


@cache
def _hash_of_nobody() -> str:
    """Checked when there is no such user, so that the answer takes as long as if there were."""
    return generate_password_hash(secrets.token_hex(16))


def key_of(session: Session, user: User, secret_key: str, name: str = DEFAULT_TOKEN) -> str:
    """The key of the user's token of this name; the token is made if there is none."""
    named = select(ApiToken).where(ApiToken.user_id == user.id, ApiToken.name == name)
    token = session.scalar(named)
    if token is None:
        # Of two first logins at once, the second finds what the first has made.
        lock = select(User.id).where(User.id == user.id).with_for_update(key_share=True)
        session.execute(lock)
        token = session.scalar(named)
    if token is None:
        token = ApiToken(user_id=user.id, name=name, nonce=secrets.token_hex(16))
        session.add(token)
    key = _key(secret_key, token.nonce)
    # Another hash means that the secret key is a new one: the old key ends here.
    token.key_hash = _digest(key)
    session.flush()
    return key


def user_of_key(session: Session, key: str) -> User | None:
    """The active user to whom this key belongs."""
    token = session.scalar(
        select(ApiToken)
        .options(joinedload(ApiToken.user, innerjoin=True))
        .where(
            ApiToken.key_hash == _digest(key),
            or_(ApiToken.expires.is_(None), ApiToken.expires > now()),
        )
    )
    return token.user if token and token.user.is_active else None


def _key(secret_key: str, nonce: str) -> str:
    return hmac.new(secret_key.encode(), nonce.encode(), hashlib.sha256).hexdigest()[:_KEY_LENGTH]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
