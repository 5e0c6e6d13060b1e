"""How does a client list, fetch, bring and remove the files of a task?"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated

from flask import Blueprint, Response, jsonify, redirect, request, send_file
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts.quotas import check_bytes, check_upload, forget_size
from gateway.api import schemas, serializers
from gateway.api.access import get_locked_task, get_task, refuse_while_running
from gateway.api.auditing import remember_request
from gateway.api.body import read_body
from gateway.api.conversion import converted, twin_of
from gateway.api.errors import not_found, refused
from gateway.current import gateway
from gateway.openapi import FORM, MULTIPART, NOTHING, Answer, File, documented, media
from gateway.permissions import Right
from skyrelay.products import IMAGE, IMAGE_ORIGINAL

blueprint = Blueprint("files", __name__)

#: A stage may publish between the look at a path and its opening; hardly twice in a row.
_TRIES = 3
#: What file systems allow in a name, and in a path.
_LONGEST_NAME, _LONGEST_PATH = 200, 1000


class _Upload(TypedDict):
    file: Annotated[File, Field(description="Its content.")]


class _Stored(TypedDict):
    path: Annotated[str, Field(examples=["custom_mask.fits"])]
    size: Annotated[int, Field(description="Bytes.", examples=[8_392_320])]


@blueprint.get("/tasks/<int:task_id>/files/")
@documented({200: list[schemas.FileEntry]})
def list_files(task_id: int) -> ResponseReturnValue:
    """What is at the top level of the task's folder."""
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    return jsonify([serializers.file_entry(entry) for entry in gateway().store.entries(task_id)])


@blueprint.get("/tasks/<int:task_id>/files/<path:path>")
@documented(
    {
        200: media("*/*", description="The file."),
        206: media("*/*", description="The range asked for."),
        302: Answer(
            description="Where it is, where S3 gives it out itself.",
            media_types=(),
            headers=("Location",),
        ),
        304: Answer(description="As it was (`If-None-Match`).", media_types=()),
    },
    errors=(400, 416),
)
def download(task_id: int, path: str) -> ResponseReturnValue:
    """One file, whole or the ranges asked for.

    A table that is there under another ending (``.vot``, ``.parquet``) is converted.
    """
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    check_path(path)
    for _ in range(_TRIES):
        try:
            return _send(task_id, path)
        except FileNotFoundError:
            continue
    return _converted(task_id, path)


@blueprint.post("/tasks/<int:task_id>/files/<path:path>")
@documented({201: _Stored}, body=_Upload, kinds=(MULTIPART, FORM), errors=(409,))
def upload(task_id: int, path: str) -> ResponseReturnValue:
    """Store a file under this path; folders on the way are made."""
    return jsonify({"path": path, "size": store_upload(task_id, path, "file")}), 201


def store_upload(task_id: int, path: str, field: str) -> int:
    """Store the file in this field of the request's form under this path; its size in bytes.

    Raises
    ------
    ApiError
        If there is none, or the task does not take it now.
    """
    # The body is read before anything is locked: it may take an hour to arrive.
    with gateway().database.reading() as session:
        task = get_task(session, task_id, Right.EDIT)
        refuse_while_running(task, "an upload")
        owner = task.user
    check_upload(gateway(), owner, request.content_length or 0, makes_task=False)
    body = read_body(json_too=False)
    file = body.files.get(field)
    if file is None:
        raise refused(400, "No file provided")
    check_path(path)
    gateway().store.complete(file.stream)
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        refuse_while_running(task, "an upload")
        check_bytes(gateway(), session, task.user, os.fstat(file.stream.fileno()).st_size)
        forget_size(session, task_id)
        try:
            size = gateway().store.adopt(task_id, path, file.stream)
            if path == IMAGE:
                _forget_original(task_id)
        except FileNotFoundError as error:
            raise not_found() from error
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise refused(400, f"{path} is, or lies in, something of another kind") from error
        remember_request(
            session,
            "file_upload",
            task_id=task_id,
            path=path,
            size=size,
        )
    return size


@blueprint.delete("/tasks/<int:task_id>/files/<path:path>")
@documented({204: NOTHING}, errors=(409,))
def delete(task_id: int, path: str) -> ResponseReturnValue:
    """Remove a file, or a folder with all that is in it."""
    with gateway().database.writing() as session:
        task = get_locked_task(session, task_id, Right.EDIT)
        check_path(path)
        refuse_while_running(task, "deleting files")
        forget_size(session, task_id)
        try:
            gateway().store.remove(task_id, path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise not_found() from error
        remember_request(
            session,
            "file_delete",
            task_id=task_id,
            path=path,
        )
    return Response(status=204)


def _send(task_id: int, path: str) -> ResponseReturnValue:
    address = gateway().store.address(task_id, path)
    if address is not None:
        return redirect(address)
    found = gateway().store.path(task_id, path)
    if not found.is_file():
        raise FileNotFoundError(path)
    return send_file(found, as_attachment=True, conditional=True, download_name=found.name)


def _converted(task_id: int, path: str) -> Response:
    """The table that is there in another format; 404 if it is not."""
    twin = twin_of(path)
    if twin is None:
        raise not_found()
    try:
        found = gateway().store.path(task_id, twin)
    except FileNotFoundError as error:
        raise not_found() from error
    if not found.is_file():
        raise not_found()
    return converted(found, "votable" if path.endswith(".vot") else "parquet")


def _forget_original(task_id: int) -> None:
    """The original of another image is none of this one."""
    with suppress(FileNotFoundError):
        gateway().store.remove(task_id, IMAGE_ORIGINAL)


def check_path(path: str) -> None:
    """404 for a path that no file of a task can have."""
    names = path.split("/")
    if len(path) > _LONGEST_PATH or any(len(name.encode()) > _LONGEST_NAME for name in names):
        raise not_found()
    if not path.isprintable() or ".." in names:
        raise not_found()
