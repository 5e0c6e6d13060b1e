"""How does a client get a task of its own that begins where another one stands?"""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gateway.api import schemas, serializers
from gateway.api.access import get_locked_task
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user, gateway
from gateway.api.creation import LONGEST_NAME
from gateway.models import Task
from gateway.openapi import documented
from gateway.permissions import Right

blueprint = Blueprint("duplication", __name__)

_MARK = "(copy)"
#: What is known of the place on the sky is true of the copy.
_POSITION = ("ra", "dec", "radius", "pixel_scale", "moc")


@blueprint.post("/tasks/<int:task_id>/duplicate/")
@documented({201: schemas.TaskInFull}, errors=(507,))
def duplicate(task_id: int) -> ResponseReturnValue:
    """Make a task with the files and the configuration of this one; nobody else sees it yet."""
    with gateway().database.writing() as session:
        source = get_locked_task(session, task_id, Right.EDIT)
        copy = Task(
            original_name=source.original_name,
            title=f"{source.title[: LONGEST_NAME - len(_MARK) - 1]} {_MARK}".strip(),
            state="uploaded",
            user_id=current_user().id,
            config=dict(source.config),
            **{name: getattr(source, name) for name in _POSITION},
        )
        session.add(copy)
        session.flush()
        gateway().store.duplicate(task_id, copy.id)
        try:
            remember_request(
                session,
                "task_duplicate",
                task_id=copy.id,
                original=task_id,
            )
            session.flush()
            answer = serializers.task_in_full(copy)
            session.commit()
        except BaseException:
            gateway().store.delete(copy.id)
            raise
    return jsonify(answer), 201
