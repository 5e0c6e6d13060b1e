"""With which configurations, and files, may a new task begin? Staff decides."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway import local_files
from gateway.api import schemas, serializers
from gateway.api.access import require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import Body, field_config, read_body, warnings_of
from gateway.api.creation import LONGEST_NAME
from gateway.api.errors import invalid, not_found
from gateway.current import gateway
from gateway.models import LARGEST_ID, Preset
from gateway.openapi import NOTHING, documented

blueprint = Blueprint("presets", __name__)

_MOST_FILES = 50


class _PresetChange(TypedDict, total=False):
    name: Annotated[str, Field(examples=["wide field"])]
    config: schemas.Config
    files: Annotated[list[str], Field(description="Of the data folder.", examples=[["flat.fits"]])]


@blueprint.get("/presets/")
@documented({200: list[schemas.PresetAnswer]})
def list_presets() -> ResponseReturnValue:
    """All presets."""
    with gateway().database.reading() as session:
        found = session.scalars(select(Preset).order_by(Preset.name, Preset.id)).all()
    return jsonify([_shown(preset) for preset in found])


@blueprint.get("/presets/<int:preset_id>/")
@documented({200: schemas.PresetAnswer})
def read_preset(preset_id: int) -> ResponseReturnValue:
    """One preset; its files are shown to staff alone."""
    with gateway().database.reading() as session:
        return jsonify(_shown(_get(session, preset_id)))


@blueprint.post("/presets/")
@documented({201: schemas.PresetAnswer}, body=_PresetChange, errors=(403,))
def create_preset() -> ResponseReturnValue:
    """Make a preset: name, config, and files of the data folder that a task gets."""
    require_staff()
    body = read_body(files_too=False)
    preset = Preset(name="", config={}, files=[])
    validated = _change(preset, body)
    if not preset.name:
        raise invalid(name="This field is required.")
    with gateway().database.writing() as session:
        session.add(preset)
        session.flush()
        remember_request(session, "preset_create", preset=preset.id, name=preset.name)
    return jsonify(_shown(preset) | validated), 201


@blueprint.route("/presets/<int:preset_id>/", methods=["PATCH", "PUT"])
@documented({200: schemas.PresetAnswer}, body=_PresetChange, errors=(403,))
def update_preset(preset_id: int) -> ResponseReturnValue:
    """Change a preset; what is not sent stays as it is. Tasks that began with it stay, too."""
    require_staff()
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        preset = _get(session, preset_id)
        validated = _change(preset, body)
        if not preset.name:
            raise invalid(name="This field may not be blank.")
        remember_request(session, "preset_update", preset=preset.id, fields=sorted(body.fields))
    return jsonify(_shown(preset) | validated)


@blueprint.delete("/presets/<int:preset_id>/")
@documented({204: NOTHING}, errors=(403,))
def delete_preset(preset_id: int) -> ResponseReturnValue:
    """Delete a preset."""
    require_staff()
    with gateway().database.writing() as session:
        preset = _get(session, preset_id)
        remember_request(session, "preset_delete", preset=preset.id, name=preset.name)
        session.delete(preset)
    return Response(status=204)


def _get(session: Session, preset_id: int) -> Preset:
    found = session.get(Preset, preset_id) if preset_id <= LARGEST_ID else None
    if found is None:
        raise not_found()
    return found


def _shown(preset: Preset) -> dict[str, Any]:
    shown = dict(serializers.preset(preset))
    return shown | {"files": preset.files} if current_user().is_staff else shown


def _change(preset: Preset, body: Body) -> dict[str, list[str]]:
    """Take over what was sent; what to warn of."""
    if "name" in body:
        preset.name = body.text("name", LONGEST_NAME).strip()
    if "files" in body:
        preset.files = _files(body)
    if "config" not in body:
        return {}
    validated = field_config(body)
    preset.config = validated.config
    return warnings_of(validated)


def _files(body: Body) -> list[str]:
    names = body.texts("files")
    if len(names) > _MOST_FILES:
        raise invalid(files=f"At most {_MOST_FILES} files are allowed.")
    for name in names:
        try:
            local_files.find(gateway().settings, name)
        except FileNotFoundError as error:
            raise invalid(files=f"There is no file {name} in the data folder.") from error
    return names
