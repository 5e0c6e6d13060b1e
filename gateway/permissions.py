"""Who may see, change and delete a task?"""

from __future__ import annotations

from enum import Enum

from sqlalchemy import BindParameter, ColumnElement, exists, or_, select, true
from sqlalchemy.orm import Session

from gateway.models import Task, User, task_groups, user_groups


class Right(Enum):
    """What somebody wants to do with a task."""

    VIEW = "view"
    EDIT = "edit"
    DELETE = "delete"


def allowed(session: Session, user: User, task: Task, right: Right) -> bool:
    """Whether the user has this right on the task."""
    if user.is_staff or task.user_id == user.id:
        return True
    if right is Right.DELETE:
        return False
    if user.edit_all_tasks or (right is Right.VIEW and user.view_all_tasks):
        return True
    shared = select(
        exists().where(
            task_groups.c.task_id == task.id,
            task_groups.c.group_id == user_groups.c.group_id,
            user_groups.c.user_id == user.id,
        )
    )
    return bool(session.scalar(shared))


def visible_to(user: User) -> ColumnElement[bool]:
    """The condition on tasks that the user may see."""
    return true() if sees_all(user) else own_or_shared(user.id)


def own_or_shared(user_id: int | BindParameter[int]) -> ColumnElement[bool]:
    """The condition on tasks that a user owns, or that are shared with one of the user's groups."""
    # Correlated, so that the database may look at the groups of the few tasks that are left.
    shared = exists().where(
        task_groups.c.task_id == Task.id,
        task_groups.c.group_id == user_groups.c.group_id,
        user_groups.c.user_id == user_id,
    )
    return or_(Task.user_id == user_id, shared)


def sees_all(user: User) -> bool:
    """Whether every task is visible to the user."""
    return user.is_staff or user.view_all_tasks or user.edit_all_tasks
