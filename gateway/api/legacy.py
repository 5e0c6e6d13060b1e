"""How do programs that were written for STDWeb's older interface get what they ask for?

Its requests are translated here into those of today, and nothing else knows of them.
"""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, NotRequired

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from typing_extensions import TypedDict

from gateway.api import schemas, serializers
from gateway.api.access import get_locked_task, get_task
from gateway.api.auth import current_user
from gateway.api.body import Body, checked_config, read_body
from gateway.api.creation import check_quotas, make_task
from gateway.api.errors import invalid, refused
from gateway.api.files import store_upload
from gateway.api.processing import begin
from gateway.current import gateway
from gateway.models import Task, User
from gateway.openapi import FORM, MULTIPART, File, documented, media
from gateway.permissions import Right, visible_to
from skyrelay.parameters import PARAMETERS, ParameterError, Validated
from skyrelay.products import CUSTOM_TEMPLATE

blueprint = Blueprint("legacy", __name__)

#: The steps of `upload/` by the field that asks for each, in their order.
_WANTED = {
    "do_inspect": "inspect",
    "do_photometry": "photometry",
    "do_simple_transients": "simple_transients",
    "do_subtraction": "subtraction",
}
#: The steps of `action/`, which the web page's buttons are called by, too.
_ACTIONS = {
    **{step: step for step in _WANTED.values()},
    "inspect_image": "inspect",
    "photometry_image": "photometry",
    "transients_simple": "simple_transients",
    "transients_simple_image": "simple_transients",
    "subtract_image": "subtraction",
    "cleanup": "cleanup",
    "cleanup_task": "cleanup",
}
_YES = frozenset({"true", "1", "on", "yes"})
#: What parameters were called.
_RENAMED = {"template_catalog": "template"}
_COLUMNS = ("id", "original_name", "title", "state", "user", "created", "modified")
#: Spreadsheets take a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_Flag = Annotated[str, Field(description="true to do this step.", examples=["true"])]


class _Upload(TypedDict, total=False):
    file: Annotated[File, Field(description="The image.")]
    title: schemas.Title
    preset: Annotated[int, Field(examples=[3])]
    target: Annotated[str, Field(description="This, and any other parameter.", examples=["M51"])]
    do_inspect: _Flag
    do_photometry: _Flag
    do_simple_transients: _Flag
    do_subtraction: _Flag


class _Action(TypedDict):
    action: Annotated[str, Field(examples=["photometry"])]
    target: NotRequired[Annotated[str, Field(description="Any parameter.", examples=["M51"])]]


class _Template(TypedDict):
    template_file: File


class _Answer(TypedDict):
    message: Annotated[str, Field(examples=["File uploaded successfully"])]
    task: schemas.TaskInFull


@blueprint.post("/tasks/upload/")
@documented({201: _Answer}, body=_Upload, kinds=(MULTIPART, FORM), errors=(403, 404, 429, 507))
def upload_task() -> ResponseReturnValue:
    """Make a task of an image and process it at once; parameters are fields of their own."""
    check_quotas()
    body = read_body(json_too=False)
    if "file" not in body.files:
        raise invalid(file="No file was submitted.")
    validated = _flat_config(body)
    steps = [step for field, step in _WANTED.items() if body.text(field, 10).lower() in _YES]
    made = make_task(Body({**body.fields, "local_file": ""}, body.files), validated, steps)
    return _answer("File uploaded successfully", made["id"]), 201


@blueprint.post("/tasks/<int:task_id>/action/")
@documented({200: _Answer}, body=_Action, errors=(409, 429))
def act(task_id: int) -> ResponseReturnValue:
    """Process one step; parameters are fields of their own."""
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        action = body.text("action", 100)
        if action not in _ACTIONS:
            raise refused(400, f"Unknown action: {action}; known are {', '.join(_ACTIONS)}")
        begin(session, task, [_ACTIONS[action]], _flat_config(body).config)
    return _answer(f"{action} started", task_id)


@blueprint.post("/tasks/<int:task_id>/upload_template/")
@documented({200: _Answer}, body=_Template, kinds=(MULTIPART, FORM), errors=(409,))
def upload_template(task_id: int) -> ResponseReturnValue:
    """Store the template that the subtraction is to use."""
    store_upload(task_id, CUSTOM_TEMPLATE, "template_file")
    return _answer("Template uploaded successfully", task_id)


@blueprint.get("/tasks/export.csv")
@documented({200: media("text/csv", example="id,original_name,...\n42,m51_r.fits,...\n")})
def export() -> ResponseReturnValue:
    """The tasks that one may see, as a table for spreadsheets."""
    with gateway().database.reading() as session:
        rows = session.execute(
            select(*(getattr(Task, name) for name in _COLUMNS if name != "user"), User.username)
            .join(User, User.id == Task.user_id)
            .where(visible_to(current_user()))
            .order_by(Task.id.desc())
        ).all()
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for row in rows:
        listed = serializers.task_in_list({**row._mapping, "user": row.username})
        writer.writerow([_plain(listed[name]) for name in _COLUMNS])  # type: ignore[literal-required]
    response = Response(buffer.getvalue(), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=tasks.csv"
    return response


def _answer(message: str, task_id: int) -> Response:
    with gateway().database.reading() as session:
        task = serializers.task_in_full(get_task(session, task_id, Right.VIEW))
    return jsonify({"message": message, "task": task})


def _flat_config(body: Body) -> Validated:
    """The parameters among the fields; others are left alone."""
    given: dict[str, Any] = {_RENAMED.get(name, name): value for name, value in body.fields.items()}
    if "template_catalog" in body:
        # Surveys had the number of their release in their name: ZTF_DR7.
        given["template"] = str(given["template"]).lower().partition("_")[0]
    try:
        return checked_config({name: given[name] for name in given if name in PARAMETERS})
    except ParameterError as error:
        raise invalid(**{error.name: error.message}) from error


def _plain(value: Any) -> Any:
    """A text that no spreadsheet computes."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
