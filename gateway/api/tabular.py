"""In which format does a client want a table, and how does it get it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from flask import Response, jsonify, request
from pydantic import Field, WithJsonSchema

from gateway.api.errors import detail, invalid
from gateway.openapi import Answer
from gateway.tables import FORMATS, Column, Rows, write

#: What clients call the formats in their header ``Accept``, beside the proper names.
_ALSO = {
    "application/parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/votable+xml": "votable",
    "text/xml": "votable",
    "application/xml": "votable",
}


#: Names of the kinds of values in JSON, and an example of each.
_KINDS: dict[str, tuple[str, Any]] = {
    "int": ("integer", 1),
    "float": ("number", 1.5),
    "text": ("string", "r"),
    "bool": ("boolean", True),
}
Format = Annotated[
    str, Field(description=f"One of {', '.join(FORMATS)}; else as Accept says.", examples=["json"])
]


def rows_of(*tables: Sequence[Column]) -> WithJsonSchema:
    """Says of a field that it holds rows with the columns of one of these tables."""
    kinds = [_row_schema(columns) for columns in tables]
    return WithJsonSchema({"type": "array", "items": {"anyOf": kinds}})


def _row_schema(columns: Sequence[Column]) -> dict[str, Any]:
    fields = {}
    for column in columns:
        kind, usual = _KINDS[column.kind]
        unit = f" Unit: {column.unit}." if column.unit else ""
        fields[column.name] = {
            "type": [kind, "null"],
            "description": f"{column.doc}{unit}",
            "examples": [usual if column.example is None else column.example],
        }
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def table(rows: Any) -> Answer:
    """A JSON answer of this type, or the same rows in another of the `FORMATS`."""
    return Answer(rows, media_types=tuple(FORMATS.values()), headers=("X-Total-Count",))


def wanted_format(allowed: Sequence[str] = tuple(FORMATS)) -> str:
    """The format of the answer: that of ``format=``, else the best that the client accepts.

    Raises
    ------
    ApiError
        400 if there is no such format, 406 if the client accepts none that there is.
    """
    named = request.args.get("format", "")
    if named:
        if named not in allowed:
            raise invalid(format=f"There is no format {named!r}: take {', '.join(allowed)}.")
        return named
    accepted = request.accept_mimetypes
    if not accepted:
        return "json"
    kinds = {FORMATS[name]: name for name in allowed}
    kinds |= {kind: name for kind, name in _ALSO.items() if name in allowed}
    best = accepted.best_match(list(kinds))
    if best is None:
        raise detail(406, f"Nothing that is accepted can be sent: take {', '.join(allowed)}.")
    return kinds[best]


def answer(
    columns: Sequence[Column],
    rows: Rows,
    kind: str,
    name: str,
    around: Mapping[str, Any] | None = None,
) -> Response:
    """The rows as table ``name`` in the format ``kind``.

    As JSON they are the ``results`` of the object ``around``; the other formats have the rows
    alone, and say in the header ``X-Total-Count`` how many there are in all, where that is known.
    """
    if kind == "json":
        plain = [{column.name: row.get(column.name) for column in columns} for row in rows]
        response = jsonify({**(around or {}), "results": plain})
    else:
        response = Response(write(columns, rows, kind, name), mimetype=FORMATS[kind])
        suffix = {"votable": "vot"}.get(kind, kind)
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{suffix}"'
        if around and "count" in around:
            response.headers["X-Total-Count"] = str(around["count"])
    response.vary.add("Accept")
    return response
