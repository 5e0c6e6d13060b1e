"""Which files does the data folder hold, for clients to look at and to make tasks of?"""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from flask import Blueprint, jsonify, send_file
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway import local_files
from gateway.api import query, schemas, serializers
from gateway.api.errors import invalid, not_found
from gateway.current import gateway
from gateway.openapi import Answer, documented
from skyrelay.store import Entry

blueprint = Blueprint("data_files", __name__, url_prefix="/files")

_Listing = list[schemas.FileEntry]
_ListingOrFile = Annotated[
    _Listing, Field(description="Of a folder; the file itself where it is one.")
]


#: What a listing may be sorted by.
_ORDERS: dict[str, Callable[[schemas.FileEntry], Any]] = {
    "name": lambda entry: entry["name"].lower(),
    "modified": lambda entry: entry["modified"],
    "size": lambda entry: entry["size"],
}


class _Sorted(TypedDict, total=False):
    order: Annotated[
        str,
        Field(description="name, modified or size; `-` turns it round.", examples=["-modified"]),
    ]


@blueprint.get("/")
@documented({200: _Listing}, query=_Sorted, errors=(400,))
def list_root() -> ResponseReturnValue:
    """What is at the top of the data folder: folders first, then by name, or as wanted."""
    return jsonify(_listing(""))


@blueprint.get("/<path:path>")
@documented(
    {
        200: Answer(_ListingOrFile, media_types=("application/json", "*/*")),
        206: Answer(media_types=("*/*",), description="The range asked for."),
        304: Answer(media_types=(), description="As it was (`If-None-Match`)."),
    },
    query=_Sorted,
    errors=(400, 416),
)
def list_or_download(path: str) -> ResponseReturnValue:
    """A folder's listing, or a file, whole or the ranges asked for."""
    found = find(path)
    if found.is_dir():
        return jsonify(_listing(path.strip("/")))
    return send_file(found, as_attachment=True, conditional=True, download_name=found.name)


def find(path: str) -> Path:
    """The file or folder of this path.

    Raises
    ------
    ApiError
        404 if there is none, or the path leads out of the data folder.
    """
    try:
        return local_files.find_any(gateway().settings, path)
    except FileNotFoundError as error:
        raise not_found() from error


def _listing(path: str) -> _Listing:
    try:
        items = sorted(find(path).iterdir(), key=lambda item: item.name)
    except (FileNotFoundError, PermissionError) as error:
        raise not_found() from error
    prefix = f"{path}/" if path else ""
    entries = [entry for item in items if (entry := _entry(item, prefix)) is not None]
    order = query.text("order") or "name"
    if order.removeprefix("-") not in _ORDERS:
        raise invalid(order=f"Take one of {', '.join(_ORDERS)}, perhaps with a minus before it.")
    entries.sort(key=_ORDERS["name"])
    entries.sort(key=_ORDERS[order.removeprefix("-")], reverse=order.startswith("-"))
    entries.sort(key=lambda entry: not entry["is_dir"])
    return entries


def _entry(item: Path, prefix: str) -> schemas.FileEntry | None:
    """Nothing for what is hidden, leads out of the folder, or has just gone."""
    try:
        status = local_files.find_any(gateway().settings, f"{prefix}{item.name}").stat()
    except OSError:
        return None
    return serializers.file_entry(
        Entry(
            name=item.name,
            path=f"{prefix}{item.name}",
            size=status.st_size,
            modified=datetime.fromtimestamp(status.st_mtime, UTC),
            is_dir=stat.S_ISDIR(status.st_mode),
        )
    )
