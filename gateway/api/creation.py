"""How does a client make a new task, of an uploaded file, a file of the data folder, or nothing?"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Any, NotRequired

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway import lifetime, local_files
from gateway.accounts.quotas import check_bytes, check_run, check_task, check_upload
from gateway.api import schemas, serializers
from gateway.api.access import groups_named
from gateway.api.auditing import remember_request, remember_run
from gateway.api.auth import current_user
from gateway.api.body import Body, field_config, read_body, warnings_of
from gateway.api.errors import invalid
from gateway.api.idempotency import once_per_key, remember_answer
from gateway.api.run_request import check_inputs, priority_of, steps_of
from gateway.current import gateway
from gateway.models import Preset, Task, User
from gateway.openapi import File, documented
from skyrelay import task_states
from skyrelay.parameters import ParameterError, Validated, validate
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
    steps: Annotated[schemas.Steps, Field(description="Of a run that begins at once.")]
    priority: schemas.Priority


@schemas.exact
class _TaskMade(schemas.TaskCreated):
    """A task that has just been made; with its first run, if it was made with one."""

    state: NotRequired[schemas.State]
    celery_id: NotRequired[schemas.RunId]
    steps: NotRequired[schemas.Steps]


def check_quotas() -> None:
    """Refuse a request for one more task, by its length, before its body is read.

    Raises
    ------
    QuotaExceeded
        If the user may not have it.
    """
    check_upload(gateway(), current_user(), request.content_length or 0, makes_task=True)


@blueprint.post("/tasks/")
@documented({201: _TaskMade}, body=_NewTask, errors=(403, 404, 422, 429, 507))
@once_per_key(before_reading=check_quotas, files_too=True)
def create_task() -> ResponseReturnValue:
    """Make a task; its image is not looked at before the first stage.

    With ``steps`` its first run begins in the same instant.
    """
    body = read_body()
    answer = make_task(body, field_config(body), steps_of(body), priority_of(body))
    return jsonify(answer), 201


def make_task(
    body: Body, validated: Validated, steps: list[str], priority: int = 0
) -> dict[str, Any]:
    """Make the task that the body describes, with this configuration; the answer about it.

    Its first run, if there are steps, begins in the same transaction.

    Raises
    ------
    ApiError
        If it makes no sense; nothing is left of it then.
    """
    name = _name(body)
    title = body.text("title", LONGEST_NAME)
    with ExitStack() as received:
        # All that takes time is done before the transaction, which others may wait for.
        with gateway().database.reading() as session:
            preset = find_preset(session, body.integer("preset"))
        files = _receive(body, received)
        files |= {path.name: copied(path, received) for path in files_of_preset(preset)}
        for content in files.values():
            gateway().store.complete(content)
        with gateway().database.writing() as session:
            check_task(gateway(), session, current_user())
            check_bytes(gateway(), session, current_user(), sum(map(_size, files.values())))
            config = (preset.config if preset else {}) | validated.config
            check_inputs(session, steps, config)
            if steps:
                check_run(gateway(), session, current_user())
            task = Task(
                original_name=name,
                title=title,
                state=task_states.UPLOADED if IMAGE in files else task_states.INITIAL,
                user=session.get_one(User, current_user().id),
                config=config,
                groups=groups_named(session, body.texts("groups")),
                reasons=[],
            )
            with lifetime.made(gateway(), session, task, files):
                run = lifetime.start_first(gateway(), session, task, steps, priority)
                remember_request(
                    session,
                    "task_create",
                    task_id=task.id,
                    original_name=task.original_name,
                    source="local" if body.fields.get("local_file") else "upload",
                )
                answer = {**serializers.task_created(task), **warnings_of(validated)}
                if run is not None:
                    remember_run(session, run, config, task)
                    answer |= {"state": task.state, "celery_id": run.id, "steps": steps}
                remember_answer(session, 201, answer)
    return answer


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
        source = local_files.find(gateway().settings, local)
    except FileNotFoundError as error:
        raise invalid(local_file="There is no such file in the data folder.") from error
    ext = body.integer("ext")
    if ext is None:
        return {IMAGE: copied(source, received)}
    target = received.enter_context(gateway().store.incoming())
    try:
        local_files.copy_extension(source, ext, target)
    except local_files.NoSuchExtension as error:
        raise invalid(ext=str(error)) from error
    return {IMAGE: target}


def _size(content: IO[bytes]) -> int:
    return os.fstat(content.fileno()).st_size


def copied(source: Path, received: ExitStack) -> IO[bytes]:
    """A copy of a file of the data folder, on the store's disk until it is adopted."""
    target = received.enter_context(gateway().store.incoming())
    local_files.copy(source, target)
    return target


def find_preset(session: Session, number: int | None) -> Preset | None:
    """The preset of this number, None for None.

    Raises
    ------
    ApiError
        400 if there is none.
    """
    if number is None:
        return None
    found = session.get(Preset, number) if 0 < number < 2**31 else None
    if found is None:
        raise invalid(preset=f'Invalid pk "{number}" - object does not exist.')
    try:
        validate(found.config)
    except ParameterError as error:
        raise invalid(preset=f"Its configuration is wrong: {error}") from error
    return found


def files_of_preset(preset: Preset | None) -> list[Path]:
    """The files that a task of this preset begins with; raises what `find_preset` raises."""
    try:
        return lifetime.preset_files(gateway(), preset)
    except lifetime.PresetFileMissing as error:
        raise invalid(preset=str(error)) from error
