"""What are the rows of a VOTable that a user may have brought?

Any file may lie under the name of a product, so the reading has bounds: of bytes, elements, rows,
columns and the length of a cell, and it stops at the first that is passed. Only plain tables are
read, as the stages write them and as STDWeb did: a STREAM may name an address to be fetched by
whoever reads it, and a document type may define texts that grow without end. astropy's parser
knows no bounds and fetches; so the few elements that a plain table has are understood here.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

#: Rows of one table: a hundred times what a crowded field has of candidates.
MOST_ROWS = 10_000
#: Bytes of a file; so many rows of the stages' own columns take about half of it.
_MOST_BYTES = 16 * 1024 * 1024
_MOST_ELEMENTS = 1_000_000
_MOST_COLUMNS = 200
_LONGEST_CELL = 2000
#: What the file is read by.
_CHUNK = 64 * 1024
#: Whole numbers beyond this are none of a table, which has at most 64 bits for them.
_LARGEST = 2**63
#: Elements with rows that are not plain.
_PACKED = frozenset({"BINARY", "BINARY2", "FITS", "STREAM"})
_INTEGERS = frozenset({"unsignedByte", "short", "int", "long"})
_REALS = frozenset({"float", "double"})
_WORDS = {"t": True, "1": True, "true": True, "f": False, "0": False, "false": False}


class Unreadable(ValueError):
    """The file is no table that is read here; the message says why."""


def read_rows(path: Path, most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """The rows of the first table in the file, by the names of its columns.

    Values are None where they are missing or not finite; arrays of numbers stay text.

    Raises
    ------
    Unreadable
        If it is no plain VOTable, or passes a bound.
    FileNotFoundError
        If it is gone.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("it is no file")
    if status.st_size > _MOST_BYTES:
        raise Unreadable(f"it has more than {_MOST_BYTES // 1024**2} MiB")
    reader = _Reader(most)
    with path.open("rb") as file:
        try:
            while not reader.complete and (chunk := file.read(_CHUNK)):
                reader.parse(chunk)
        except expat.ExpatError as error:
            raise Unreadable(f"it is no XML: {error}") from error
    if not reader.complete:
        raise Unreadable("it has no whole table")
    return reader.rows


@dataclass(frozen=True)
class _Column:
    name: str
    plain: Callable[[str], Any]


class _Reader:
    """Understands the first table of a document while that comes."""

    def __init__(self, most: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.complete = False
        self._most = most
        self._columns: list[_Column] = []
        self._field: dict[str, str] = {}
        self._null: str | None = None
        self._row: list[Any] | None = None
        self._cell: list[str] | None = None
        self._length = self._elements = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = _refuse_document_type
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._read

    def parse(self, chunk: bytes) -> None:
        self._parser.Parse(chunk)

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise Unreadable(f"it has more than {_MOST_ELEMENTS} elements")
        if self.complete:
            return
        match name.rpartition(":")[2]:
            case "TD" if self._row is not None:
                if len(self._row) >= len(self._columns):
                    raise Unreadable("a row has more cells than there are columns")
                self._cell, self._length = [], 0
            case "TR":
                if len(self.rows) >= self._most:
                    raise Unreadable(f"it has more than {self._most} rows")
                self._row = []
            case "FIELD":
                if len(self._columns) >= _MOST_COLUMNS:
                    raise Unreadable(f"it has more than {_MOST_COLUMNS} columns")
                self._field, self._null = attributes, None
            case "VALUES" if self._field:
                self._null = attributes.get("null")
            case packed if packed in _PACKED:
                raise Unreadable(f"its rows are not plain: {packed}")

    def _read(self, text: str) -> None:
        if self._cell is not None:
            self._length += len(text)
            if self._length > _LONGEST_CELL:
                raise Unreadable(f"a cell has more than {_LONGEST_CELL} characters")
            self._cell.append(text)

    def _end(self, name: str) -> None:
        if self.complete:
            return
        match name.rpartition(":")[2]:
            case "TD" if self._row is not None and self._cell is not None:
                self._row.append(self._columns[len(self._row)].plain("".join(self._cell)))
                self._cell = None
            case "TR" if self._row is not None:
                missing = [None] * (len(self._columns) - len(self._row))
                names = (column.name for column in self._columns)
                self.rows.append(dict(zip(names, self._row + missing, strict=True)))
                self._row = None
            case "FIELD":
                field, self._field = self._field, {}
                name = field.get("name") or field.get("ID") or f"col{len(self._columns) + 1}"
                self._columns.append(_Column(name, _converter(field, self._null)))
            case "TABLE":
                self.complete = True


def _refuse_document_type(*_: Any) -> None:
    raise Unreadable("it has a document type")


def _converter(field: dict[str, str], null: str | None) -> Callable[[str], Any]:
    """What makes a value of the text of a cell of this column."""
    kind, scalar = field.get("datatype", ""), field.get("arraysize", "1") == "1"
    if kind in ("char", "unicodeChar") or not scalar:
        return str
    convert = _integer if kind in _INTEGERS else _real if kind in _REALS else None
    if convert is None:
        return _word if kind in ("boolean", "bit") else str

    def value(text: str) -> Any:
        text = text.strip()
        if not text or text == null:
            return None
        try:
            return convert(text)
        except (ValueError, OverflowError):
            raise Unreadable(f"{text[:50]!r} is no value of a column of {kind}") from None

    return value


def _integer(text: str) -> int:
    number = int(text, 16 if text.lower().startswith("0x") else 10)
    if not -_LARGEST <= number < _LARGEST:
        raise ValueError(text)
    return number


def _real(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _word(text: str) -> bool | None:
    return _WORDS.get(text.strip().lower())
