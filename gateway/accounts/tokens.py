"""By which keys do programs and browsers show who sent them?

A key is a random text of 160 bits, so its plain SHA-256 is all that needs to be stored. The
token that a user name and a password give is derived from the installation's secret key and the
token's nonce, so that it can be shown again: a client that logs in twice goes on with one token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy.orm import Session, load_only

from gateway.models import ApiToken, BrowserSession, Task, User, now
from skyrelay.errors import Permanent

#: The token that `POST /api/auth/token/` and the command line hand out.
DEFAULT_TOKEN = "api"
_KEY_LENGTH = 40
#: Tokens of one user: more are a program that makes a new one at each start.
_MOST_TOKENS = 100
#: How exactly a token's last use is known: to write it down at each use would cost more than
#: the use itself.
_USE = timedelta(hours=1)

# Built once: each request asks one of these.
_OF_TOKEN = (
    select(User, ApiToken.id, ApiToken.last_used)
    .join(ApiToken, ApiToken.user_id == User.id)
    .where(
        ApiToken.key_hash == bindparam("digest"),
        or_(ApiToken.expires.is_(None), ApiToken.expires > bindparam("moment")),
        User.is_active,
    )
)
_OF_TOKEN_AND_TASK = (
    _OF_TOKEN.add_columns(Task)
    .outerjoin(Task, Task.id == bindparam("task"))
    .options(load_only(Task.user_id, Task.state, Task.celery_id, Task.reasons, raiseload=True))
)
_OF_SESSION = (
    select(User)
    .join(BrowserSession, BrowserSession.user_id == User.id)
    .where(
        BrowserSession.key_hash == bindparam("digest"),
        BrowserSession.expires > bindparam("moment"),
        User.is_active,
    )
)


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
    key = _derived(secret_key, token.nonce)
    # Another hash means that the secret key is a new one: the old key ends here.
    token.key_hash = _digest(key)
    session.flush()
    return key


def make_token(
    session: Session, user: User, name: str, expires: datetime | None
) -> tuple[ApiToken, str]:
    """A new token of the user and its key, which nobody can tell again.

    Raises
    ------
    Permanent
        If the user has a token of this name, or too many of them.
    """
    session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    names = set(session.scalars(select(ApiToken.name).where(ApiToken.user_id == user.id)))
    if name == DEFAULT_TOKEN or name in names:
        raise Permanent(f"There is a token {name} already, or its name is reserved.")
    if len(names) >= _MOST_TOKENS:
        raise Permanent(f"A user has at most {_MOST_TOKENS} tokens: revoke one first.")
    key = secrets.token_hex(_KEY_LENGTH // 2)
    token = ApiToken(user_id=user.id, name=name, key_hash=_digest(key), expires=expires)
    session.add(token)
    session.flush()
    return token, key


@dataclass(frozen=True)
class KeyOwner:
    """Whose key it is, which token, and when that was used last.

    ``task`` is one that was asked for with it, if there is such: only its owner, state, run and
    reasons are read.
    """

    user: User
    token: int
    last_used: datetime | None
    task: Task | None = None


def user_of_key(session: Session, key: str) -> User | None:
    """The active user to whom this key of a token belongs."""
    owner = owner_of_key(session, key)
    return None if owner is None else owner.user


def owner_of_key(session: Session, key: str, task: int | None = None) -> KeyOwner | None:
    """The active user to whom this key belongs, and where a task stands, in one question."""
    asked = {"digest": _digest(key), "moment": now()}
    if task is None:
        found = session.execute(_OF_TOKEN, asked).first()
    else:
        found = session.execute(_OF_TOKEN_AND_TASK, asked | {"task": task}).first()
    return None if found is None else KeyOwner(*found)


def is_worth_noting(last_used: datetime | None) -> bool:
    """Whether a use now is to be written down."""
    return last_used is None or now() - last_used > _USE


def note_use(session: Session, token_id: int) -> None:
    """Write down that a token is used now."""
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used=now()))


def begin_session(session: Session, user: User, days: float) -> str:
    """Remember that the user is logged in with a browser; the key for its cookie."""
    session.execute(delete(BrowserSession).where(BrowserSession.expires < now()))
    key = secrets.token_hex(_KEY_LENGTH // 2)
    expires = now() + timedelta(days=days)
    session.add(BrowserSession(key_hash=_digest(key), user_id=user.id, expires=expires))
    session.flush()
    return key


def user_of_session(session: Session, key: str) -> User | None:
    """The active user who is logged in with this key."""
    return session.scalar(_OF_SESSION, {"digest": _digest(key), "moment": now()})


def end_session(session: Session, key: str) -> None:
    """Forget the session of this key."""
    session.execute(delete(BrowserSession).where(BrowserSession.key_hash == _digest(key)))


def end_sessions(session: Session, user: User) -> None:
    """Log the user out of all browsers."""
    session.execute(delete(BrowserSession).where(BrowserSession.user_id == user.id))


def csrf_token(secret_key: str, session_key: str) -> str:
    """What a page of ours knows, and one of somebody else's, which sends the cookie too, not."""
    return _derived(secret_key, f"csrf {session_key}")


def _derived(secret_key: str, nonce: str) -> str:
    return hmac.new(secret_key.encode(), nonce.encode(), hashlib.sha256).hexdigest()[:_KEY_LENGTH]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
