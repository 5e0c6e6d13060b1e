"""How does a client get a task of its own that begins where another one stands?"""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway import lifetime
from gateway.accounts.quotas import check_bytes, check_task, size_of
from gateway.api import schemas, serializers
from gateway.api.access import get_locked_task
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import read_body
from gateway.api.creation import LONGEST_NAME
from gateway.current import gateway
from gateway.models import Task
from gateway.openapi import documented
from gateway.permissions import Right
from skyrelay import task_states
from skyrelay.products import BROUGHT, IMAGE_WCS

blueprint = Blueprint("duplication", __name__)

_MARK = "(copy)"
#: What a copy begins with that is to be processed anew.
_INPUTS = frozenset({*BROUGHT, IMAGE_WCS})
#: What is known of the place on the sky is true of the copy.
_POSITION = ("ra", "dec", "radius", "pixel_scale", "moc")


class _Duplication(TypedDict, total=False):
    products: Annotated[
        bool, Field(description="Whether to copy what the stages have made.", examples=[True])
    ]


@blueprint.post("/tasks/<int:task_id>/duplicate/")
@documented({201: schemas.TaskInFull}, body=_Duplication, errors=(413, 429))
def duplicate(task_id: int) -> ResponseReturnValue:
    """Make a task with the files and the configuration of this one; nobody else sees it yet.

    Without its ``products`` the copy has what the user has brought, and the refined coordinates.
    """
    products_too = read_body(files_too=False).flag("products") is not False
    with gateway().database.writing() as session:
        source = get_locked_task(session, task_id, Right.EDIT)
        check_task(gateway(), session, current_user())
        check_bytes(gateway(), session, current_user(), size_of(gateway(), task_id))
        copy = Task(
            original_name=source.original_name,
            title=f"{source.title[: LONGEST_NAME - len(_MARK) - 1]} {_MARK}".strip(),
            state=task_states.UPLOADED if products_too else task_states.DUPLICATED,
            user_id=current_user().id,
            config=dict(source.config),
            **{name: getattr(source, name) for name in _POSITION},
        )
        names = None if products_too else _INPUTS
        with lifetime.copied(gateway(), session, task_id, copy, names):
            remember_request(
                session,
                "task_duplicate",
                task_id=copy.id,
                original=task_id,
            )
            session.flush()
            answer = serializers.task_in_full(copy)
    return jsonify(answer), 201
