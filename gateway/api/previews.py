"""How does a client look at FITS files without fetching them?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from gateway.api.access import get_task
from gateway.api.data_files import find
from gateway.api.errors import ApiError, not_found, refused, try_again
from gateway.api.files import check_path
from gateway.current import gateway, renderers
from gateway.openapi import NOTHING, Answer, documented, media
from gateway.permissions import Right
from gateway.preview.jobs import Job, Unviewable
from gateway.preview.options import BadOption, CutoutOptions, ImageOptions, parse
from gateway.preview.renderers import TooBusy
from skyrelay.products import CATALOGUE, CUSTOM_MASK, IMAGE_WCS, OBJECTS

blueprint = Blueprint("previews", __name__)

_Wanted = TypeVar("_Wanted", ImageOptions, CutoutOptions)

#: To be changed with what pictures look like: those that clients keep are then asked for anew.
_VERSION = "1"
_GIB = 1024**3
#: The folder of smaller versions of images, beside those of the tasks.
_CACHE = ".previews"
#: Files of a task that are drawn over its images.
_DRAWN = (CUSTOM_MASK, IMAGE_WCS, OBJECTS, CATALOGUE)
_ANSWERS = {
    200: media("image/jpeg", "image/png", description="The picture."),
    304: Answer(description="As it was (`If-None-Match`).", media_types=NOTHING.media_types),
}


@blueprint.get("/tasks/<int:task_id>/preview/<path:path>")
@documented(_ANSWERS, query=ImageOptions, errors=(400,))
def preview(task_id: int, path: str) -> ResponseReturnValue:
    """A picture of a FITS image of the task; the user's mask is shown on `image.fits`."""
    file = _file_of_task(task_id, path, _DRAWN)
    return _picture(file, file.parent, task=task_id, image=_options(ImageOptions))


@blueprint.get("/tasks/<int:task_id>/cutout/<path:path>")
@documented(_ANSWERS, query=CutoutOptions, errors=(400,))
def cutout(task_id: int, path: str) -> ResponseReturnValue:
    """The planes of a cut-out of the task, side by side."""
    file = _file_of_task(task_id, path)
    return _picture(file, None, task=task_id, cutout=_options(CutoutOptions))


@blueprint.get("/files/<path:path>/preview/")
@documented(_ANSWERS, query=ImageOptions, errors=(400,))
def data_preview(path: str) -> ResponseReturnValue:
    """A picture of a FITS image of the data folder."""
    file = find(path)
    if not file.is_file():
        raise not_found()
    return _picture(file, None, image=_options(ImageOptions))


def _file_of_task(task_id: int, path: str, beside: Sequence[str] = ()) -> Path:
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    check_path(path)
    try:
        found = gateway().store.path(task_id, path, beside)
    except FileNotFoundError as error:
        raise not_found() from error
    if not found.is_file():
        raise not_found()
    return found


def _options(kind: type[_Wanted]) -> _Wanted:
    try:
        return parse(kind, request.args)
    except BadOption as error:
        raise ApiError(400, {error.name: error.sentence}) from error


def _picture(
    path: Path,
    folder: Path | None,
    *,
    task: int | None = None,
    image: ImageOptions | None = None,
    cutout: CutoutOptions | None = None,
) -> Response:
    job = Job(
        path=str(path),
        task=task,
        folder=None if folder is None else str(folder),
        cache=str(gateway().store.root / _CACHE),
        cache_size=gateway().settings.skyrelay_preview_cache * _GIB,
        image=image,
        cutout=cutout,
    )
    tag = _tag(job, path, folder)
    if request.if_none_match.contains(tag):
        response = Response(status=304)
    else:
        options = image or cutout
        kind = options.format if options is not None else "jpeg"
        response = Response(_render(job), mimetype=f"image/{kind}")
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _tag(job: Job, path: Path, folder: Path | None) -> str:
    """The same as long as the picture is."""
    drawn = [folder / name for name in _DRAWN] if folder is not None else []
    parts = [_VERSION, job.model_dump_json()]
    for file in (path, *drawn):
        try:
            status = file.stat()
        except FileNotFoundError:
            parts.append("-")
        else:
            parts.append(f"{status.st_ino} {status.st_mtime_ns} {status.st_size}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _render(job: Job) -> bytes:
    try:
        return renderers().render(job)
    except Unviewable as error:
        raise refused(400, str(error)) from error
    except TooBusy:
        raise try_again("Too many pictures are asked for; try again in a moment.") from None
