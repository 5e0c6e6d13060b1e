"""How does a view get the task it is about, and the groups to share it with?"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from gateway.api.auth import current_user, standing_task
from gateway.api.errors import invalid, not_found, refused
from gateway.models import LARGEST_ID, Group, Task, user_groups
from gateway.orchestration.runs import lock_task
from gateway.permissions import Right, allowed

# Built once: most requests ask one of these.
_TASK = select(Task).where(Task.id == bindparam("task"))


def get_task(session: Session, task_id: int, right: Right) -> Task:
    """The task, for reading.

    Raises
    ------
    ApiError
        404 if there is no such task, 403 if it is not for this user.
    """
    task = session.scalar(_TASK, {"task": task_id}) if task_id <= LARGEST_ID else None
    return _checked(session, task, right)


def get_standing(session: Session, task_id: int) -> Task:
    """The task, to tell how it stands; for views that are marked with `tells_standing`.

    Raises what `get_task` raises.
    """
    task = standing_task()
    return (
        get_task(session, task_id, Right.VIEW)
        if task is None
        else _checked(session, task, Right.VIEW)
    )


def get_locked_task(session: Session, task_id: int, right: Right) -> Task:
    """The task, for changing: nobody else changes it until the end of the transaction.

    Raises what `get_task` raises.
    """
    task = lock_task(session, task_id) if task_id <= LARGEST_ID else None
    return _checked(session, task, right)


def require_staff() -> None:
    """403 if the user is no administrator."""
    if not current_user().is_staff:
        raise refused(403, "Permission denied")


def refuse_while_running(task: Task, what: str) -> None:
    """409 if the task has an open run."""
    if task.celery_id is not None:
        raise refused(409, f"Task is already processing: {what} is possible when it has ended.")


def _checked(session: Session, task: Task | None, right: Right) -> Task:
    if task is None:
        raise not_found()
    if not allowed(session, current_user(), task, right):
        raise refused(403, "Permission denied")
    return task


def groups_named(session: Session, names: Sequence[str]) -> list[Group]:
    """The groups of these names, with which the user may share a task.

    Raises
    ------
    ApiError
        400 if there is no such group, or the user is not in it and no staff.
    """
    found = {
        group.name: group
        for group in session.scalars(select(Group).where(Group.name.in_(set(names))))
    }
    user = current_user()
    own = set(
        session.scalars(select(user_groups.c.group_id).where(user_groups.c.user_id == user.id))
    )
    for name in names:
        if name not in found:
            raise invalid(groups=f"Object with name={name} does not exist.")
        if not user.is_staff and found[name].id not in own:
            raise invalid(groups=f"You are not a member of the group {name}.")
    return list(found.values())
