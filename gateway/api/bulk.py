"""How does a client do the same to many tasks at once?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway.api import schemas
from gateway.api.access import get_locked_task
from gateway.api.body import Body, read_body
from gateway.api.errors import answer_to, invalid, sentence_of
from gateway.api.processing import begin
from gateway.api.sharing import share
from gateway.api.task_numbers import task_numbers
from gateway.api.tasks import delete_one
from gateway.current import gateway
from gateway.openapi import documented
from gateway.permissions import Right
from skyrelay.stages import ARCHIVE, CLEANUP

blueprint = Blueprint("bulk", __name__)

#: Tasks in one request, so that its answer comes while somebody waits for it.
_MOST_TASKS = 200

#: What is done to one task, and what more its answer says.
_Action = Callable[[Session, int, Body], dict[str, Any]]


class _Bulk(TypedDict):
    action: Annotated[
        Literal["archive", "cleanup", "delete", "add_to_groups", "remove_from_groups"],
        Field(examples=["archive"]),
    ]
    ids: Annotated[str | list[int], Field(description="Numbers of tasks.", examples=["1,2 5-7"])]
    groups: NotRequired[
        Annotated[list[str], Field(description="To share with, or no longer.", examples=[[]])]
    ]


class _Done(TypedDict):
    id: schemas.TaskId
    status: Annotated[Literal["success", "error"], Field(examples=["success"])]
    error: NotRequired[Annotated[str, Field(examples=["Permission denied"])]]
    celery_id: NotRequired[Annotated[schemas.RunId, Field(description="If a run was begun.")]]


@blueprint.post("/tasks/actions/")
@documented({200: list[_Done]}, body=_Bulk)
def act_on_tasks() -> ResponseReturnValue:
    """Archive, clean up, delete, or share many tasks; each for itself, as if asked one by one.

    What is wrong with one task does not keep the others. To archive (remove the products) and to
    clean up (the configuration, too) are runs.
    """
    body = read_body(files_too=False)
    action = _ACTIONS.get(body.text("action", 50))
    if action is None:
        raise invalid(action=f"Must be one of {', '.join(_ACTIONS)}.")
    if action in (_add, _remove) and not body.texts("groups"):
        raise invalid(groups="This field is required.")
    numbers = task_numbers(body, _MOST_TASKS)
    return jsonify(list(_answers(numbers, action, body)))


def _answers(numbers: Sequence[int], action: _Action, body: Body) -> Iterator[dict[str, Any]]:
    """What became of each; an error of one says nothing about those before it, which are done.

    Where nothing was done yet while the database or the store is away, their error is raised.
    """
    done, away = False, ""
    for number in numbers:
        if away:
            yield {"id": number, "status": "error", "error": away}
            continue
        try:
            with gateway().database.writing() as session:
                more = action(session, number, body)
        except Exception as error:
            answer = answer_to(error)
            sentence = sentence_of(answer.get_json())
            if answer.status_code == 503:
                if not done:
                    raise
                # To wait for it once more for each of the others would take too long.
                away = sentence
            yield {"id": number, "status": "error", "error": sentence}
        else:
            done = True
            yield {"id": number, "status": "success", **more}


def _step(step: str) -> _Action:
    def run(session: Session, number: int, _: Body) -> dict[str, Any]:
        task = get_locked_task(session, number, Right.EDIT)
        return {"celery_id": begin(session, task, [step], {}).id}

    return run


def _delete(session: Session, number: int, _: Body) -> dict[str, Any]:
    delete_one(session, number)
    return {}


def _add(session: Session, number: int, body: Body) -> dict[str, Any]:
    share(session, get_locked_task(session, number, Right.EDIT), body.texts("groups"), ())
    return {}


def _remove(session: Session, number: int, body: Body) -> dict[str, Any]:
    share(session, get_locked_task(session, number, Right.EDIT), (), body.texts("groups"))
    return {}


_ACTIONS: dict[str, _Action] = {
    "archive": _step(ARCHIVE.step),
    "cleanup": _step(CLEANUP.step),
    "delete": _delete,
    "add_to_groups": _add,
    "remove_from_groups": _remove,
}
