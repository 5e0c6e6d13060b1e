"""How does an administrator see, and deal with, messages that were put aside?"""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway.api import schemas, serializers
from gateway.api.access import require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.errors import not_found, refused
from gateway.current import gateway
from gateway.models import LARGEST_ID, DeadLetter
from gateway.openapi import NOTHING, documented
from gateway.orchestration import dead_letters
from gateway.orchestration.dead_letters import UnknownLetter
from skyrelay.errors import Permanent

blueprint = Blueprint("dead", __name__, url_prefix="/dead")


@blueprint.before_request
def _only_staff() -> None:
    require_staff()


class _ListQuery(TypedDict, total=False):
    all: Annotated[str, Field(description="1 for those, too, that are dealt with.", examples=["1"])]


class _Replayed(TypedDict):
    id: Annotated[int, Field(examples=[7])]
    task: schemas.TaskId
    celery_id: schemas.RunId
    steps: schemas.Steps


@blueprint.get("/")
@documented({200: list[schemas.DeadLetterAnswer]}, query=_ListQuery, errors=(403,))
def list_letters() -> ResponseReturnValue:
    """Those that wait for somebody, oldest first; all of them with ``?all=1``."""
    with gateway().database.reading() as session:
        found = dead_letters.listed(session, handled=request.args.get("all") == "1")
        return jsonify([serializers.dead_letter(letter) for letter in found])


@blueprint.get("/<int:letter_id>/")
@documented({200: schemas.DeadLetterAnswer}, errors=(403,))
def read_letter(letter_id: int) -> ResponseReturnValue:
    """One of them."""
    with gateway().database.reading() as session:
        return jsonify(serializers.dead_letter(_find(session, letter_id)))


@blueprint.post("/<int:letter_id>/replay/")
@documented({200: _Replayed}, errors=(403, 409, 507))
def replay_letter(letter_id: int) -> ResponseReturnValue:
    """Do the steps that were left of its run, in a new run."""
    with gateway().database.writing() as session:
        _find(session, letter_id)
        try:
            run = dead_letters.replay(gateway(), session, letter_id, current_user().username)
        except Permanent as error:
            raise refused(409, str(error)) from error
        remember_request(session, "dead_letter_replay", dead_letter=letter_id, task=run.task_id)
    answer = {"id": letter_id, "task": run.task_id, "celery_id": run.id, "steps": run.steps}
    return jsonify(answer)


@blueprint.delete("/<int:letter_id>/")
@documented({204: NOTHING}, errors=(403, 409))
def drop_letter(letter_id: int) -> ResponseReturnValue:
    """Decide that nothing is to be done about it."""
    with gateway().database.writing() as session:
        letter = _find(session, letter_id)
        try:
            dead_letters.drop(session, letter_id, current_user().username)
        except Permanent as error:
            raise refused(409, str(error)) from error
        remember_request(session, "dead_letter_drop", dead_letter=letter_id, task=letter.task_id)
    return Response(status=204)


def _find(session: Session, letter_id: int) -> DeadLetter:
    try:
        return dead_letters.find(session, min(letter_id, LARGEST_ID))
    except UnknownLetter as error:
        raise not_found() from error
