"""How does a list of rows become JSON, CSV, VOTable or Parquet?

A table says of each of its columns what kind of value it holds, in which unit, and what it means;
the formats that can carry that (VOTable, Parquet) do.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

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


Row = Mapping[str, Any]
Rows = Sequence[Row]

#: Kinds of content by the name of the format.
FORMATS = {
    "json": "application/json",
    "csv": "text/csv",
    "votable": "application/x-votable+xml",
    "parquet": "application/vnd.apache.parquet",
}


#: Formats that can be sent while the rows are read.
STREAMED = ("csv", "votable")
_KINDS = {"int": "long", "float": "double", "text": "unicodeChar", "bool": "boolean"}
#: What XML has no characters for.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(columns: Sequence[Column], rows: Rows, kind: str, name: str) -> bytes:
    """The rows in one of the `FORMATS`, JSON excepted; ``name``: what the table is called."""
    if kind == "parquet":
        return _parquet(columns, rows, name)
    return b"".join(stream(columns, [rows], kind, name))


def stream(
    columns: Sequence[Column], batches: Iterable[Rows], kind: str, name: str
) -> Iterator[bytes]:
    """The rows in one of the formats that are `STREAMED`, piece by piece."""
    return {"csv": _csv, "votable": _votable}[kind](columns, batches, name)


def _csv(columns: Sequence[Column], batches: Iterable[Rows], _: str) -> Iterator[bytes]:
    for number, rows in enumerate(batches):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        if number == 0:
            writer.writerow([column.name for column in columns])
        for row in rows:
            writer.writerow([_cell(row.get(column.name)) for column in columns])
        yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A value of a CSV file. Spreadsheets carry out texts that begin as formulae do."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _votable(columns: Sequence[Column], batches: Iterable[Rows], name: str) -> Iterator[bytes]:
    """As text of version 1.4, which knows an empty cell for a missing value of any kind.

    astropy writes whole tables only.
    """
    fields = "".join(map(_field, columns))
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
        f'<RESOURCE type="results">\n<TABLE name={_quoted(name)}>\n{fields}<DATA>\n<TABLEDATA>\n'
    ).encode()
    for rows in batches:
        cells = ("".join(f"<TD>{_xml(row.get(c.name))}</TD>" for c in columns) for row in rows)
        yield "".join(f"<TR>{row}</TR>\n" for row in cells).encode()
    yield b"</TABLEDATA>\n</DATA>\n</TABLE>\n</RESOURCE>\n</VOTABLE>\n"


def _field(column: Column) -> str:
    said = {
        "name": column.name,
        "datatype": _KINDS[column.kind],
        "arraysize": "*" if column.kind == "text" else "",
        "unit": column.unit,
        "ucd": column.ucd,
    }
    attributes = "".join(f" {name}={_quoted(value)}" for name, value in said.items() if value)
    doc = f"<DESCRIPTION>{_xml(column.doc)}</DESCRIPTION>" if column.doc else ""
    return f"<FIELD{attributes}>{doc}</FIELD>\n"


def _quoted(text: str) -> str:
    return quoteattr(_UNWRITABLE.sub("?", text))


def _xml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(_UNWRITABLE.sub("?", value)) if isinstance(value, str) else repr(value)


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
