"""How does a client make a new task, of an uploaded file, a file of the data folder, or nothing?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway import local_files
from gateway.api import schemas, serializers
from gateway.api.access import groups_named
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user, gateway
from gateway.api.body import Body, field_config, read_body, warnings_of
from gateway.api.errors import invalid
from gateway.models import Preset, Task, User
from gateway.openapi import File, documented
from skyrelay.products import IMAGE

blueprint = Blueprint("creation", __name__)

LONGEST_NAME = 250


class _NewTask(TypedDict, total=False):
    file: Annotated[File, Field(description="The image; multipart only.")]
    local_file: Annotated[
        str, Field(description="Or its path in the data folder.", examples=["night1/m51_r.fits"])
    ]
    ext: Annotated[int, Field(description="Extension of local_file.", examples=[1])]
    original_name: schemas.Name
    title: schemas.Title
    config: schemas.Config
    preset: Annotated[int, Field(description="Its configuration is the base.", examples=[3])]
    groups: schemas.Groups


@blueprint.post("/tasks/")
@documented({201: schemas.TaskCreated}, body=_NewTask, errors=(507,))
def create_task() -> ResponseReturnValue:
    """Make a task; its image is not looked at before the first stage."""
    body = read_body()
    validated = field_config(body)
    name = _name(body)
    title = body.text("title", LONGEST_NAME)
    with ExitStack() as received:
        # All that takes time is done before the transaction, which others may wait for.
        with gateway().database.reading() as session:
            preset = _preset(session, body)
        files = _receive(body, received)
        files |= {path.name: _copied(path, received) for path in _preset_files(preset)}
        for content in files.values():
            gateway().store.complete(content)
        with gateway().database.writing() as session:
            task = Task(
                original_name=name,
                title=title,
                state="uploaded" if IMAGE in files else "initial",
                user=session.get_one(User, current_user().id),
                config=(preset.config if preset else {}) | validated.config,
                groups=groups_named(session, body.texts("groups")),
                reasons=[],
            )
            with _with_folder(session, task, files):
                remember_request(
                    session,
                    "task_create",
                    task_id=task.id,
                    original_name=task.original_name,
                    source="local" if body.fields.get("local_file") else "upload",
                )
                session.commit()
    return jsonify({**serializers.task_created(task), **warnings_of(validated)}), 201


def _name(body: Body) -> str:
    """The task's original name; refuses combinations of files that make no sense."""
    upload, local = body.files.get("file"), body.text("local_file", 4096)
    if upload is not None and local:
        raise invalid(non_field_errors="Send either file or local_file, not both.")
    if "ext" in body and not local:
        raise invalid(ext="It is for local_file only.")
    name = body.text("original_name", LONGEST_NAME)
    if not name and upload is not None:
        name = Path(upload.filename or "").name[-LONGEST_NAME:]
    if not name and local:
        name = Path(local).name[-LONGEST_NAME:]
    if not name:
        raise invalid(original_name="This field is required where there is no file.")
    return name


def _receive(body: Body, received: ExitStack) -> dict[str, IO[bytes]]:
    """The image, complete and on the store's disk, by its name in the task's folder."""
    upload, local = body.files.get("file"), body.text("local_file", 4096)
    if upload is not None:
        return {IMAGE: upload.stream}
    if not local:
        return {}
    try:
        source = local_files.find(gateway().settings.data_path, local)
    except FileNotFoundError as error:
        raise invalid(local_file="There is no such file in the data folder.") from error
    ext = body.integer("ext")
    if ext is None:
        return {IMAGE: _copied(source, received)}
    target = received.enter_context(gateway().store.incoming())
    try:
        local_files.copy_extension(source, ext, target)
    except local_files.NoSuchExtension as error:
        raise invalid(ext=str(error)) from error
    return {IMAGE: target}


def _copied(source: Path, received: ExitStack) -> IO[bytes]:
    target = received.enter_context(gateway().store.incoming())
    local_files.copy(source, target)
    return target


def _preset(session: Session, body: Body) -> Preset | None:
    number = body.integer("preset")
    if number is None:
        return None
    found = session.get(Preset, number) if 0 < number < 2**31 else None
    if found is None:
        raise invalid(preset=f'Invalid pk "{number}" - object does not exist.')
    return found


def _preset_files(preset: Preset | None) -> list[Path]:
    data = gateway().settings.data_path
    try:
        return [local_files.find(data, name) for name in (preset.files if preset else [])]
    except FileNotFoundError as error:
        raise invalid(preset=f"Its file {error} is not in the data folder.") from error


@contextmanager
def _with_folder(session: Session, task: Task, files: dict[str, Any]) -> Iterator[None]:
    """Make the task and its folder with these files: both, or neither."""
    session.add(task)
    session.flush()
    store = gateway().store
    try:
        store.create(task.id)
        for name, content in files.items():
            store.adopt(task.id, name, content)
        yield
    except BaseException:
        store.delete(task.id)
        raise
