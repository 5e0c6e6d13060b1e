"""What is in a file of a task, or of the data folder, for who looks at it without fetching it?"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api import query, schemas, serializers
from gateway.api.access import get_task
from gateway.api.conversion import converted, twin_of
from gateway.api.data_files import find
from gateway.api.errors import invalid, not_found
from gateway.api.files import check_path
from gateway.contents import table
from gateway.contents.headers import read_headers
from gateway.contents.kind import FITS, PARQUET, VOTABLE, kind_of
from gateway.current import gateway
from gateway.measurements.votable import Unreadable
from gateway.openapi import documented, media
from gateway.permissions import Right
from gateway.tables import FORMATS

blueprint = Blueprint("contents", __name__)

_USUAL_ROWS, _MOST_ROWS = 100, 1000
_USUAL_COLUMNS, _MOST_COLUMNS = 100, 500
_FORMATS = tuple(name for name in FORMATS if name != "json")


class _Looked(TypedDict, total=False):
    rows: Annotated[int, Field(ge=0, description="First rows of a table.", examples=[100])]
    columns: Annotated[int, Field(ge=1, description="First columns of it.", examples=[100])]


@schemas.exact
class _Header(TypedDict):
    index: Annotated[int, Field(description="`ext` of a preview or a new task.", examples=[0])]
    name: Annotated[str, Field(examples=["SCI"])]
    kind: Annotated[str, Field(description="image, packed image, table, empty", examples=["image"])]
    shape: Annotated[list[int], Field(description="Slowest axis first.", examples=[[2048, 2048]])]
    cards: Annotated[
        list[list[Any]],
        Field(description="Keyword, value, comment.", examples=[[["EXPTIME", 60.0, "seconds"]]]),
    ]


@schemas.exact
class _Table(TypedDict):
    count: Annotated[int, Field(description="All rows.", examples=[1234])]
    columns: Annotated[list[str], Field(description="All columns.", examples=[["ra", "dec"]])]
    rows: Annotated[
        list[list[Any]], Field(description="The first, in this order.", examples=[[[10.1, 20.2]]])
    ]


@schemas.exact
class _Contents(TypedDict):
    name: Annotated[str, Field(examples=["image.fits"])]
    path: Annotated[str, Field(examples=["image.fits"])]
    size: Annotated[int, Field(description="Bytes.", examples=[8_392_320])]
    modified: schemas.Moment
    mime: Annotated[str, Field(description="By its content.", examples=["application/fits"])]
    headers: NotRequired[Annotated[list[_Header], Field(description="Of a FITS file.")]]
    complete: NotRequired[
        Annotated[bool, Field(description="Whether these are all.", examples=[True])]
    ]
    table: NotRequired[Annotated[_Table, Field(description="Of a VOTable or Parquet file.")]]
    unreadable: NotRequired[
        Annotated[str, Field(description="Why there is no table.", examples=["it is no XML"])]
    ]


class _Format(TypedDict, total=False):
    format: Annotated[
        str, Field(description=f"One of {', '.join(_FORMATS)}.", examples=["votable"])
    ]


@blueprint.get("/tasks/<int:task_id>/info/<path:path>")
@documented({200: _Contents}, query=_Looked, errors=(400,))
def look_into_task(task_id: int, path: str) -> ResponseReturnValue:
    """What a file of the task is: its kind, all headers of a FITS file, the first rows of a table.

    For ``.vot`` the ``.parquet`` of the same name is looked into where only that is there, and the
    other way round.
    """
    return jsonify(_contents(_file_of_task(task_id, path), path))


@blueprint.get("/files/<path:path>/info/")
@documented({200: _Contents}, query=_Looked, errors=(400,))
def look_into_data(path: str) -> ResponseReturnValue:
    """What a file of the data folder is, in the same way."""
    found = find(path)
    if not found.is_file():
        raise not_found()
    return jsonify(_contents(found, path.strip("/")))


@blueprint.get("/tasks/<int:task_id>/table/<path:path>")
@documented({200: media(*map(FORMATS.__getitem__, _FORMATS))}, query=_Format, errors=(400,))
def convert(task_id: int, path: str) -> ResponseReturnValue:
    """A table of the task (VOTable or Parquet) in another format."""
    form = query.text("format") or "votable"
    if form not in _FORMATS:
        raise invalid(format=f"There is no format {form!r}: take {', '.join(_FORMATS)}.")
    return converted(_file_of_task(task_id, path), form)


def _file_of_task(task_id: int, path: str) -> Path:
    with gateway().database.reading() as session:
        get_task(session, task_id, Right.VIEW)
    for name in filter(None, (path, twin_of(path))):
        check_path(name)
        try:
            found = gateway().store.path(task_id, name)
        except FileNotFoundError:
            continue
        if found.is_file():
            return found
    raise not_found()


def _contents(file: Path, path: str) -> dict[str, Any]:
    rows = query.integer("rows", least=0, most=_MOST_ROWS, default=_USUAL_ROWS)
    columns = query.integer("columns", least=1, most=_MOST_COLUMNS, default=_USUAL_COLUMNS)
    try:
        status, kind = file.stat(), kind_of(file)
        found = {
            "name": file.name,
            "path": str(PurePosixPath(path).with_name(file.name)),
            "size": status.st_size,
            "modified": serializers.moment(datetime.fromtimestamp(status.st_mtime, UTC)),
            "mime": kind,
        }
        if kind == FITS:
            headers, complete = read_headers(file)
            return found | {"headers": headers, "complete": complete}
        if kind in (PARQUET, VOTABLE):
            return found | _beginning(file, rows, columns)
    except FileNotFoundError:
        raise not_found() from None
    return found


def _beginning(file: Path, rows: int, columns: int) -> dict[str, Any]:
    """The first rows and columns of a table, or why they cannot be read."""
    try:
        with table.opened(file) as found:
            names = [column.name for column in found.columns]
            first = islice((row for batch in found.batches for row in batch), rows)
            shown = [[row[name] for name in names[:columns]] for row in first]
            return {"table": {"count": found.count, "columns": names, "rows": shown}}
    except Unreadable as error:
        return {"unreadable": str(error)}
