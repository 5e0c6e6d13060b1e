"""May somebody try once more to log in?

Tries are counted in the database, so that all gateway processes count together, and before the
password is looked at, so that many at once do not slip through. Three things are counted: tries
for one name from one address, for one name from anywhere, and from one address for any name.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import case, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from gateway.models import LoginAttempts, now

#: Tries are forgotten after this time.
WINDOW = timedelta(minutes=15)
#: Tries within the window: enough for whoever mistypes, and 1,000 a day for whoever guesses.
MOST_FOR_NAME_FROM_ADDRESS = 10
#: More than one address may be ours; a name is closed to all only when many guess together.
MOST_FOR_NAME = 100
#: A whole observatory may come from one address.
MOST_FROM_ADDRESS = 200


def spend(session: Session, name: str, address: str) -> float:
    """Count one more try; seconds to wait before the next, 0 if this one may go on."""
    moment = now()
    _forget_old(session, moment)
    wait = 0.0
    # All take the rows in the same order, so that nobody waits in a circle.
    for who, most in sorted(_limits(name, address).items()):
        insert = postgresql.insert if _is_postgresql(session) else sqlite.insert
        row = insert(LoginAttempts).values(who=who, count=1, until=moment + WINDOW)
        over = LoginAttempts.until < moment
        counted = row.on_conflict_do_update(
            index_elements=[LoginAttempts.who],
            set_={
                "count": case((over, 1), else_=LoginAttempts.count + 1),
                "until": case((over, moment + WINDOW), else_=LoginAttempts.until),
            },
        ).returning(LoginAttempts.count, LoginAttempts.until)
        count, until = session.execute(counted).one()
        if count > most:
            wait = max(wait, (until - moment).total_seconds())
    return wait


def forgive(session: Session, name: str, address: str) -> None:
    """Forget the tries of somebody who knew the password in the end."""
    own = [_digest("both", name, address), _digest("name", name)]
    session.execute(delete(LoginAttempts).where(LoginAttempts.who.in_(own)))


def _forget_old(session: Session, moment: datetime) -> None:
    """Who else has one of the rows may remove it: waiting for it could be for ever."""
    old = select(LoginAttempts.who).where(LoginAttempts.until < moment)
    free = old.with_for_update(skip_locked=True)
    session.execute(
        delete(LoginAttempts)
        .where(LoginAttempts.who.in_(free))
        .execution_options(synchronize_session=False)
    )


def _limits(name: str, address: str) -> dict[str, int]:
    return {
        _digest("both", name, address): MOST_FOR_NAME_FROM_ADDRESS,
        _digest("name", name): MOST_FOR_NAME,
        _digest("address", address): MOST_FROM_ADDRESS,
    }


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
