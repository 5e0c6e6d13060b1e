"""Which columns and rows has a table, read piece by piece and within bounds?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.contents.kind import PARQUET, VOTABLE, kind_of
from gateway.measurements.parquet import MOST_OBJECTS
from gateway.measurements.votable import Unreadable, read_rows
from gateway.tables import Column, Kind, Rows

#: Rows that are in memory at once.
_BATCH = 2000
_MOST_COLUMNS = 500
#: Unpacked bytes of what Parquet keeps together; those of the stages have about ten million.
_LARGEST_GROUP = 256 * 1024**2
_LONGEST_CELL = 2000


@dataclass(frozen=True)
class Table:
    """A table; ``count`` is the number of its rows, which come in ``batches``."""

    columns: list[Column]
    count: int
    batches: Iterator[Rows]


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """The table in a file, as long as this lasts.

    Raises
    ------
    Unreadable
        If there is none, or it is larger than is read.
    FileNotFoundError
        If the file is gone.
    """
    kind = kind_of(path)
    if kind == PARQUET:
        with _parquet(path) as table:
            yield table
    elif kind == VOTABLE:
        rows = read_rows(path)
        yield Table(_columns_of(rows), len(rows), iter([rows]))
    else:
        raise Unreadable(f"it is no table, but {kind}")


@contextmanager
def _parquet(path: Path) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as source:
        try:
            file = pq.ParquetFile(source)
            groups = range(file.metadata.num_row_groups)
            largest = max((file.metadata.row_group(n).total_byte_size for n in groups), default=0)
            fields = list(file.schema_arrow)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Unreadable(str(error)) from error
        if file.metadata.num_rows > MOST_OBJECTS:
            raise Unreadable(f"it has more than {MOST_OBJECTS} rows")
        if len(fields) > _MOST_COLUMNS:
            raise Unreadable(f"it has more than {_MOST_COLUMNS} columns")
        if largest > _LARGEST_GROUP:
            raise Unreadable("it unpacks to more than is read")
        columns = [Column(field.name, _kind(field.type), *_about(field)) for field in fields]
        yield Table(columns, file.metadata.num_rows, _batches(file, columns))


def _batches(file: Any, columns: list[Column]) -> Iterator[Rows]:
    import pyarrow as pa

    try:
        for batch in file.iter_batches(batch_size=_BATCH):
            values = [column.to_pylist() for column in batch.columns]
            names = [column.name for column in columns]
            yield [
                {name: plain(value) for name, value in zip(names, row, strict=True)}
                for row in zip(*values, strict=True)
            ]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unreadable(str(error)) from error


def _kind(type_: Any) -> Kind:
    import pyarrow.types as types

    if types.is_boolean(type_):
        return "bool"
    if types.is_integer(type_):
        return "int"
    return "float" if types.is_floating(type_) else "text"


def _about(field: Any) -> tuple[str, str]:
    """Unit and description, where the file says them."""
    said = field.metadata or {}
    unit, doc = (said.get(name, b"") for name in (b"unit", b"description"))
    return unit.decode("utf-8", "replace"), doc.decode("utf-8", "replace")


def _columns_of(rows: Rows) -> list[Column]:
    return [Column(name, _kind_of(row[name] for row in rows)) for name in (rows[0] if rows else ())]


def _kind_of(values: Iterator[Any]) -> Kind:
    kinds = {type(value) for value in values if value is not None}
    names: dict[frozenset[type], Kind] = {
        frozenset({bool}): "bool",
        frozenset({int}): "int",
        frozenset({float}): "float",
        frozenset({int, float}): "float",
    }
    return names.get(frozenset(kinds), "text")


def plain(value: Any) -> Any:
    """A value as all formats have it: None where it is not finite, text where it is no scalar."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text[:_LONGEST_CELL]
