"""How do many files of the data folder become tasks: in a batch, or as they come into a folder?"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated, Any, NotRequired

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway import local_files
from gateway.api import query, schemas, serializers
from gateway.api.access import groups_named, require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import Body, field_config, read_body, warnings_of
from gateway.api.creation import LONGEST_NAME, files_of_preset, find_preset
from gateway.api.errors import invalid, not_found, refused
from gateway.api.idempotency import once_per_key, remember_answer
from gateway.api.run_request import check_inputs, priority_of, steps_of
from gateway.current import gateway
from gateway.followups.intake.files import is_fits
from gateway.models import LARGEST_ID, Intake, IntakeFile, IntakeKind, IntakeState
from gateway.openapi import NOTHING, documented

blueprint = Blueprint("intakes", __name__)

#: Files of one batch.
_MOST_FILES = 10_000
_LONGEST_PATH = 4096
_USUAL_PAGE, _LARGEST_PAGE = 100, 1000


_FolderName = Annotated[str, Field(description="In the data folder.", examples=["night1"])]
_Pattern = Annotated[str, Field(description="Of the files' names.", examples=["sci*.fits"])]
_PresetId = Annotated[int, Field(description="Its configuration is the base.", examples=[3])]


class _Watch(TypedDict, total=False):
    folder: _FolderName
    pattern: _Pattern
    preset: _PresetId
    config: schemas.Config
    steps: schemas.Steps
    groups: schemas.Groups
    priority: schemas.Priority


class _Batch(_Watch, total=False):
    files: Annotated[
        list[str], Field(description="Instead of a folder.", examples=[["night1/a.fits"]])
    ]


class _WatchChange(TypedDict, total=False):
    active: Annotated[bool, Field(examples=[True])]


@schemas.exact
class _IntakeAnswer(TypedDict):
    id: Annotated[int, Field(examples=[2])]
    folder: _FolderName
    pattern: _Pattern
    preset: _PresetId | None
    config: schemas.Config
    steps: schemas.Steps
    groups: schemas.Groups
    priority: schemas.Priority
    active: Annotated[bool, Field(examples=[True])]
    created: schemas.Moment
    counts: Annotated[
        dict[str, int], Field(description="Files by state.", examples=[{"taken": 12, "seen": 1}])
    ]
    warnings: NotRequired[schemas.Warnings]


@schemas.exact
class _IntakeFile(TypedDict):
    path: Annotated[str, Field(examples=["night1/a.fits"])]
    state: Annotated[str, Field(examples=["taken"])]
    task: Annotated[int | None, Field(examples=[42])]
    reason: Annotated[str, Field(examples=[""])]
    seen: schemas.Moment


class _IntakeWithFiles(_IntakeAnswer):
    files: list[_IntakeFile]


class _First(TypedDict, total=False):
    limit: schemas.Limit


class _Page(_First, total=False):
    offset: schemas.Offset


@blueprint.post("/batches/")
@documented({202: _IntakeAnswer}, body=_Batch, errors=(403, 404, 422))
@once_per_key()
def create_batch() -> ResponseReturnValue:
    """Make a task of each of ``files``, or of all FITS files in ``folder``, by and by.

    Both are relative to the data folder; ``pattern`` picks files of the folder. What else is sent
    holds for all of the tasks, as in the making of a single one.
    """
    body = read_body(files_too=False)
    folder = body.text("folder", _LONGEST_PATH)
    names = _named(body) if "files" in body else _listed(_folder(folder), body)
    if not names:
        raise refused(400, "No file is named, and the folder has none that fits.")
    if len(names) > _MOST_FILES:
        raise refused(400, f"These are {len(names)} files: at most {_MOST_FILES} are one batch.")
    with gateway().database.writing() as session:
        intake, warnings = _new(session, body, IntakeKind.BATCH, folder)
        session.add_all(
            IntakeFile(intake_id=intake.id, path=name, state=IntakeState.READY) for name in names
        )
        remember_request(session, "batch_create", intake=intake.id, files=len(names))
        answer = _shown(intake, {IntakeState.READY: len(names)}) | warnings
        remember_answer(session, 202, answer)
    return jsonify(answer), 202


@blueprint.get("/batches/")
@documented({200: list[_IntakeAnswer]}, query=_First, errors=(400,))
def list_batches() -> ResponseReturnValue:
    """The user's batches, newest first."""
    return _list(IntakeKind.BATCH)


@blueprint.get("/batches/<int:intake_id>/")
@documented({200: _IntakeWithFiles}, query=_Page, errors=(400, 403))
def read_batch(intake_id: int) -> ResponseReturnValue:
    """One batch, and what has become of a page of its files."""
    return _read(intake_id, IntakeKind.BATCH)


@blueprint.get("/watches/")
@documented({200: list[_IntakeAnswer]}, query=_First, errors=(400,))
def list_watches() -> ResponseReturnValue:
    """The folders that are watched for the user; for staff: all."""
    return _list(IntakeKind.WATCH)


@blueprint.post("/watches/")
@documented({201: _IntakeAnswer}, body=_Watch, errors=(403, 404))
def create_watch() -> ResponseReturnValue:
    """Have each new FITS file in ``folder`` (of the data folder) become a task of one's own."""
    require_staff()
    body = read_body(files_too=False)
    folder = body.text("folder", _LONGEST_PATH)
    if not folder:
        raise invalid(folder="This field is required.")
    _folder(folder)
    with gateway().database.writing() as session:
        intake, warnings = _new(session, body, IntakeKind.WATCH, folder)
        remember_request(session, "watch_create", intake=intake.id, folder=folder)
    return jsonify(_shown(intake, {}) | warnings), 201


@blueprint.get("/watches/<int:intake_id>/")
@documented({200: _IntakeWithFiles}, query=_Page, errors=(400, 403))
def read_watch(intake_id: int) -> ResponseReturnValue:
    """One watched folder, and what has become of a page of its files, the newest first."""
    return _read(intake_id, IntakeKind.WATCH)


@blueprint.patch("/watches/<int:intake_id>/")
@documented({200: _IntakeAnswer}, body=_WatchChange, errors=(403,))
def update_watch(intake_id: int) -> ResponseReturnValue:
    """Rest (``active`` false) or go on (true) watching a folder."""
    require_staff()
    active = read_body(files_too=False).flag("active")
    with gateway().database.writing() as session:
        intake = _get(session, intake_id, IntakeKind.WATCH)
        if active is not None:
            intake.active = active
        remember_request(session, "watch_update", intake=intake.id, active=intake.active)
        answer = _shown(intake, _counts(session, intake.id))
    return jsonify(answer)


@blueprint.delete("/watches/<int:intake_id>/")
@documented({204: NOTHING}, errors=(403,))
def delete_watch(intake_id: int) -> ResponseReturnValue:
    """Watch a folder no more; its tasks stay. Watched anew, all its files are new."""
    require_staff()
    with gateway().database.writing() as session:
        intake = _get(session, intake_id, IntakeKind.WATCH)
        remember_request(session, "watch_delete", intake=intake.id, folder=intake.folder)
        session.delete(intake)
    return Response(status=204)


def _new(
    session: Session, body: Body, kind: IntakeKind, folder: str
) -> tuple[Intake, dict[str, list[str]]]:
    validated, steps = field_config(body), steps_of(body)
    preset = find_preset(session, body.integer("preset"))
    files_of_preset(preset)
    check_inputs(session, steps, (preset.config if preset else {}) | validated.config)
    intake = Intake(
        kind=kind,
        user_id=current_user().id,
        folder=folder,
        pattern=body.text("pattern", LONGEST_NAME),
        preset_id=preset.id if preset else None,
        config=validated.config,
        steps=steps,
        groups=[group.name for group in groups_named(session, body.texts("groups"))],
        priority=priority_of(body),
    )
    session.add(intake)
    session.flush()
    return intake, warnings_of(validated)


def _folder(folder: str) -> Path:
    try:
        place = local_files.find_any(gateway().settings, folder)
        if not place.is_dir():
            raise NotADirectoryError(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise invalid(folder="There is no such folder in the data folder.") from error
    return place


def _listed(place: Path, body: Body) -> list[str]:
    root = gateway().settings.data_path.resolve()
    pattern = body.text("pattern", LONGEST_NAME) or "*"
    return sorted(
        str(path.relative_to(root))
        for path in place.iterdir()
        if is_fits(path.name) and fnmatch.fnmatch(path.name, pattern) and path.is_file()
    )


def _named(body: Body) -> list[str]:
    names = list(dict.fromkeys(body.texts("files")))
    for name in names[:_MOST_FILES]:
        try:
            local_files.find(gateway().settings, name)
        except FileNotFoundError as error:
            raise invalid(files=f"There is no file {name} in the data folder.") from error
    return names


def _list(kind: IntakeKind) -> ResponseReturnValue:
    selected = select(Intake).where(Intake.kind == kind).order_by(Intake.id.desc())
    if not (kind == IntakeKind.WATCH and current_user().is_staff):
        selected = selected.where(Intake.user_id == current_user().id)
    limit = query.integer("limit", least=1, most=_LARGEST_PAGE, default=_USUAL_PAGE)
    with gateway().database.reading() as session:
        found = session.scalars(selected.limit(limit)).all()
        return jsonify([_shown(each, _counts(session, each.id)) for each in found])


def _read(intake_id: int, kind: IntakeKind) -> ResponseReturnValue:
    limit = query.integer("limit", least=1, most=_LARGEST_PAGE, default=_USUAL_PAGE)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    with gateway().database.reading() as session:
        intake = _get(session, intake_id, kind)
        order = IntakeFile.id.desc() if kind == IntakeKind.WATCH else IntakeFile.id
        files = session.scalars(
            select(IntakeFile)
            .where(IntakeFile.intake_id == intake.id)
            .order_by(order)
            .limit(limit)
            .offset(offset)
        ).all()
        answer = _shown(intake, _counts(session, intake.id))
    return jsonify(answer | {"files": [_file(each) for each in files]})


def _get(session: Session, intake_id: int, kind: IntakeKind) -> Intake:
    found = session.get(Intake, intake_id) if intake_id <= LARGEST_ID else None
    if found is None or found.kind != kind:
        raise not_found()
    if found.user_id != current_user().id and not current_user().is_staff:
        raise refused(403, "Permission denied")
    return found


def _counts(session: Session, intake_id: int) -> dict[str, int]:
    counted = (
        select(IntakeFile.state, func.count())
        .where(IntakeFile.intake_id == intake_id)
        .group_by(IntakeFile.state)
    )
    return {state: count for state, count in session.execute(counted)}


def _shown(intake: Intake, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "id": intake.id,
        "folder": intake.folder,
        "pattern": intake.pattern,
        "preset": intake.preset_id,
        "config": intake.config,
        "steps": intake.steps,
        "groups": intake.groups,
        "priority": intake.priority,
        "active": intake.active,
        "created": serializers.moment(intake.created),
        "counts": {str(state): counts.get(state, 0) for state in IntakeState},
    }


def _file(found: IntakeFile) -> dict[str, Any]:
    return {
        "path": found.path,
        "state": found.state,
        "task": found.task_id,
        "reason": found.reason,
        "seen": serializers.moment(found.seen),
    }
