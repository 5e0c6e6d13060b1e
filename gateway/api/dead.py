"""How does an administrator see, and deal with, messages that were put aside?"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from gateway.api import serializers
from gateway.api.access import LARGEST_ID, require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user, gateway
from gateway.api.errors import not_found, refused
from gateway.models import DeadLetter
from gateway.orchestration import dead_letters
from gateway.orchestration.dead_letters import UnknownLetter
from skyrelay.errors import Permanent

blueprint = Blueprint("dead", __name__, url_prefix="/dead")


@blueprint.before_request
def _only_staff() -> None:
    require_staff()


@blueprint.get("/")
def list_letters() -> ResponseReturnValue:
    """Those that wait for somebody, oldest first; all of them with ``?all=1``."""
    with gateway().database.reading() as session:
        found = dead_letters.listed(session, handled=request.args.get("all") == "1")
        return jsonify([serializers.dead_letter(letter) for letter in found])


@blueprint.get("/<int:letter_id>/")
def read_letter(letter_id: int) -> ResponseReturnValue:
    """One of them."""
    with gateway().database.reading() as session:
        return jsonify(serializers.dead_letter(_find(session, letter_id)))


@blueprint.post("/<int:letter_id>/replay/")
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
