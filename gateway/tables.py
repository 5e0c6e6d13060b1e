"""How does a list of rows become JSON, CSV, VOTable or Parquet?

A table says of each of its columns what kind of value it holds, in which unit, and what it means;
the formats that can carry that (VOTable, Parquet) do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["int", "float", "text", "bool"]


@dataclass(frozen=True)
class Column:
    """A column of a table; ``ucd`` is the IVOA's word for what it holds.

    ``example``: a value, for the description of the API; one of its kind, if None.
    """

    name: str
    kind: Kind = "float"
    unit: str = ""
    doc: str = ""
    ucd: str = ""
    example: int | float | str | None = None


Rows = Sequence[Mapping[str, Any]]

#: Kinds of content by the name of the format.
FORMATS = {
    "json": "application/json",
    "csv": "text/csv",
    "votable": "application/x-votable+xml",
    "parquet": "application/vnd.apache.parquet",
}


def write(columns: Sequence[Column], rows: Rows, kind: str, name: str) -> bytes:
    """The rows in one of the `FORMATS`, JSON excepted; ``name``: what the table is called."""
    writers = {"csv": _csv, "votable": _votable, "parquet": _parquet}
    return writers[kind](columns, rows, name)


def _csv(columns: Sequence[Column], rows: Rows, _: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.name for column in columns])
    for row in rows:
        writer.writerow([_cell(row.get(column.name)) for column in columns])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A value of a CSV file. Spreadsheets carry out texts that begin as formulae do."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _votable(columns: Sequence[Column], rows: Rows, name: str) -> bytes:
    import numpy as np
    from astropy.io.votable.tree import Field, Resource, TableElement, VOTableFile

    kinds = {
        "int": ("long", None, 0),
        "float": ("double", None, np.nan),
        "text": ("unicodeChar", "*", ""),
        "bool": ("boolean", None, False),
    }
    file = VOTableFile()
    resource = Resource()
    file.resources.append(resource)
    table = TableElement(file, name=name)
    resource.tables.append(table)
    for column in columns:
        datatype, size, _ = kinds[column.kind]
        place = Field(
            file,
            name=column.name,
            datatype=datatype,
            arraysize=size,
            unit=column.unit or None,
            ucd=column.ucd or None,
        )
        place.description = column.doc or None
        table.fields.append(place)
    table.create_arrays(len(rows))
    for number, row in enumerate(rows):
        values = [row.get(column.name) for column in columns]
        table.array[number] = tuple(
            kinds[column.kind][2] if value is None else value
            for column, value in zip(columns, values, strict=True)
        )
        table.array.mask[number] = tuple(value is None for value in values)
    content = io.BytesIO()
    file.to_xml(content)
    return content.getvalue()


def _parquet(columns: Sequence[Column], rows: Rows, name: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_()}
    schema = pa.schema(
        [
            pa.field(
                column.name,
                kinds[column.kind],
                metadata={"unit": column.unit, "description": column.doc},
            )
            for column in columns
        ],
        metadata={"name": name},
    )
    content = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), content)
    return bytes(content.getvalue())
