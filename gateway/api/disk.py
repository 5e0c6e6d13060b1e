"""How much room is left on the disks of the installation?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api import schemas
from gateway.api.access import require_staff
from gateway.current import gateway
from gateway.openapi import documented

blueprint = Blueprint("disk", __name__)


@schemas.exact
class _Room(TypedDict):
    free: Annotated[int, Field(description="Bytes.", examples=[812_345_678_901])]
    size: Annotated[int, Field(description="Bytes.", examples=[2_000_000_000_000])]


@schemas.exact
class _Disks(TypedDict):
    tasks: Annotated[
        _Room, Field(description="Of the tasks' files; with a bucket, of what is kept here of it.")
    ]
    data: Annotated[_Room, Field(description="Of the data folder.")]


@blueprint.get("/disk/")
@documented({200: _Disks}, errors=(403,))
def read_disks() -> ResponseReturnValue:
    """The room that is left for files, and all that there is; for administrators."""
    require_staff()
    settings = gateway().settings
    return jsonify({"tasks": _room(settings.tasks_path), "data": _room(settings.data_path)})


def _room(path: Path) -> _Room:
    found = os.statvfs(path)
    return {"free": found.f_bavail * found.f_frsize, "size": found.f_blocks * found.f_frsize}
