"""What is in the database that is measured? Tasks of many observers, written in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from gateway.accounts import create_user, key_of
from gateway.core import Gateway
from gateway.models import Group, Task, User, task_groups

#: Observers, each of whom has as many tasks as the others, and shares half of them.
OBSERVERS = 20
_AT_ONCE = 5000
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_STATES = ("photometry_done", "subtraction_done", "inspect_failed", "uploaded")


def fill(gateway: Gateway, tasks: int) -> dict[str, str]:
    """Make users and tasks; the keys of an administrator and of an observer."""
    with gateway.database.writing() as session:
        users = [create_user(session, f"observer{number}", "") for number in range(OBSERVERS)]
        staff = create_user(session, "chief", "", staff=True)
        group = Group(name="everybody")
        session.add(group)
        for user in users:
            user.groups = [group]
        session.flush()
        for start in range(0, tasks, _AT_ONCE):
            rows = list(_tasks(users, start, min(start + _AT_ONCE, tasks)))
            session.execute(insert(Task), rows)
            shared = [{"task_id": row["id"], "group_id": group.id} for row in rows[::2]]
            session.execute(insert(task_groups), shared)
        if not gateway.database.is_sqlite:
            session.execute(text(f"SELECT setval('tasks_id_seq', {tasks})"))
        secret = gateway.settings.secret_key
        keys = {user.username: key_of(session, user, secret) for user in (staff, users[0])}
    if not gateway.database.is_sqlite:
        # What the server does by itself within a minute.
        with gateway.database.engine.connect() as connection:
            automatic = connection.execution_options(isolation_level="AUTOCOMMIT")
            automatic.execute(text("VACUUM ANALYZE"))
    return keys


def _tasks(users: list[User], start: int, end: int) -> Iterator[dict[str, Any]]:
    for number in range(start, end):
        moment = _BEGIN + timedelta(minutes=number)
        field = number * 7919 % 5000
        yield {
            "id": number + 1,
            "original_name": f"ztf_{moment:%Y%m%d%H%M}_{field:06d}_zr_c{number % 16:02d}.fits",
            "title": f"Field {field} of night {number // 500}",
            "state": _STATES[number % len(_STATES)],
            "user_id": users[number // 2 % len(users)].id,
            "created": moment,
            "modified": moment,
            "config": {"target": f"SN 2026{number % 676:03d}", "filter": "r", "sn": 5},
            "reasons": [],
        }
