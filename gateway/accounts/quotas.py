"""How much may a user have: tasks, bytes, runs at once?

What is asked here holds until the end of the transaction: the user's row is locked, so that two
requests at once cannot both take the last place. Users without a quota cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, not_, or_, select, update
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import IS_OPEN, Run, Task, User, now
from skyrelay.settings import Settings

#: More than a form has beside its file.
_AROUND = 64 * 1024


@dataclass(frozen=True)
class Quota:
    """The most that a user may have of each; 0 for no limit."""

    tasks: int
    bytes: int
    runs: int


class QuotaExceeded(Exception):
    """The user has as much already as may be; ``kind`` is the name of the quota."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def quota_of(user: User, settings: Settings) -> Quota:
    """What this user may have."""

    def chosen(own: int | None, usual: int) -> int:
        return usual if own is None else own

    return Quota(
        tasks=chosen(user.quota_tasks, settings.skyrelay_quota_tasks),
        bytes=chosen(user.quota_bytes, settings.skyrelay_quota_bytes),
        runs=chosen(user.quota_runs, settings.skyrelay_quota_runs),
    )


def usage_of(gateway: Gateway, session: Session, user: User) -> dict[str, int]:
    """What the user has of each."""
    return {
        "tasks": _tasks(session, user),
        "bytes": _bytes(gateway, session, user),
        "runs": _runs(session, user),
    }


def check_task(gateway: Gateway, session: Session, user: User) -> None:
    """Refuse one more task of the user.

    Raises
    ------
    QuotaExceeded
        If the quota is used up; the same of the others here.
    """
    most = quota_of(user, gateway.settings).tasks
    _refuse_beyond("tasks", most, 1, session, user, lambda: _tasks(session, user))


def check_bytes(gateway: Gateway, session: Session, user: User, more: int) -> None:
    """Refuse so many more bytes in the user's tasks."""
    most = quota_of(user, gateway.settings).bytes
    _refuse_beyond("bytes", most, more, session, user, lambda: _bytes(gateway, session, user))


def check_run(gateway: Gateway, session: Session, user: User) -> None:
    """Refuse one more open run of the user."""
    most = quota_of(user, gateway.settings).runs
    _refuse_beyond("runs", most, 1, session, user, lambda: _runs(session, user))


def check_upload(gateway: Gateway, user: User, length: int, *, makes_task: bool) -> None:
    """Refuse a request with a body of this length before it is read: it may take an hour.

    What lies around a file in the body is not counted, so the last word is said later.
    """
    quota = quota_of(user, gateway.settings)
    if quota.tasks or quota.bytes:
        with gateway.database.writing() as session:
            if makes_task:
                check_task(gateway, session, user)
            check_bytes(gateway, session, user, max(0, length - _AROUND))


def as_dict(quota: Quota) -> dict[str, int]:
    """The quota as a client reads it."""
    return asdict(quota)


def _refuse_beyond(
    kind: str, most: int, more: int, session: Session, user: User, used: Callable[[], int]
) -> None:
    if not most:
        return
    session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    has = used()
    if has + more > most:
        raise QuotaExceeded(
            kind,
            f"The quota of {kind} is used up: {has} of {most}, and {more} more were asked for.",
        )


def _tasks(session: Session, user: User) -> int:
    query = select(func.count()).select_from(Task).where(Task.user_id == user.id)
    return session.scalar(query) or 0


def _runs(session: Session, user: User) -> int:
    query = select(func.count()).select_from(Run).where(IS_OPEN, Run.user_id == user.id)
    return session.scalar(query) or 0


def _bytes(gateway: Gateway, session: Session, user: User) -> int:
    """Sizes are known of tasks that have not changed since they were measured."""
    own = Task.user_id == user.id
    stale = or_(Task.measured.is_(None), Task.measured <= Task.modified)
    changed = set(session.scalars(select(Task.id).where(own, stale)))
    total = int(session.scalar(select(func.sum(Task.size)).where(own, not_(stale))) or 0)
    # Whoever has one of them locked may be waiting for this user's row: not to be waited for.
    free = select(Task.id).where(Task.id.in_(changed)).with_for_update(skip_locked=True)
    kept = set(session.scalars(free)) if changed else set()
    for task in changed:
        moment, size = now(), size_of(gateway, task)
        total += size
        if task in kept:
            values = {"size": size, "measured": moment, "modified": Task.modified}
            _set(session, task, values)
    return total


def forget_size(session: Session, task_id: int) -> None:
    """The task's files have changed, and nothing else of it."""
    _set(session, task_id, {"measured": None, "modified": Task.modified})


def _set(session: Session, task_id: int, values: dict[str, Any]) -> None:
    session.execute(
        update(Task)
        .where(Task.id == task_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def size_of(gateway: Gateway, task_id: int) -> int:
    """Bytes of all files of the task, as it is at this moment."""
    return gateway.store.size(task_id)
