"""How does a user share a task with some groups, whatever others have shared it with?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway.api import schemas, serializers
from gateway.api.access import get_locked_task, groups_named
from gateway.api.auditing import remember_request
from gateway.api.body import read_body
from gateway.audit import differences
from gateway.current import gateway
from gateway.models import Task
from gateway.openapi import documented
from gateway.permissions import Right

blueprint = Blueprint("sharing", __name__)


class _GroupChange(TypedDict, total=False):
    add: Annotated[list[str], Field(description="Share with these.", examples=[["observers"]])]
    remove: Annotated[list[str], Field(description="No longer with these.", examples=[[]])]


@blueprint.post("/tasks/<int:task_id>/groups/")
@documented({200: schemas.TaskInFull}, body=_GroupChange)
def change_groups(task_id: int) -> ResponseReturnValue:
    """Share a task with groups, or no longer; all others stay, those one is not in too.

    Both are for groups that one is in; administrators name any.
    """
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        share(session, task, body.texts("add"), body.texts("remove"))
        return jsonify(serializers.task_in_full(task))


def share(session: Session, task: Task, add: Sequence[str], remove: Sequence[str]) -> None:
    """Share the locked task with some groups, and no longer with others.

    Raises
    ------
    ApiError
        400 for a group that there is not, or that the user is not in.
    """
    before = [group.name for group in task.groups]
    added, removed = groups_named(session, add), groups_named(session, remove)
    kept = [group for group in task.groups if group not in removed]
    kept += [group for group in added if group not in kept and group not in removed]
    task.groups = sorted(kept, key=lambda group: group.name)
    after = [group.name for group in task.groups]
    if changes := differences({"groups": before}, {"groups": after}):
        remember_request(session, "task_update", task_id=task.id, changes=changes)
    session.flush()
