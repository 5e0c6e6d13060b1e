"""What are the columns of a Parquet file that a user may have brought?

A few bytes may stand for any number of equal values, so what the file says of its size is looked
at before anything is unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.measurements.votable import Unreadable

if TYPE_CHECKING:  # It takes 15 MB of each process, and few need it.
    from numpy.typing import NDArray

#: Rows of the list of objects: several times what a crowded image of 100 megapixels has.
MOST_OBJECTS = 500_000
#: Unpacked bytes of all columns for each row.
_ROW_BYTES = 10_000


def read_columns(path: Path, names: Sequence[str], most: int = MOST_OBJECTS) -> dict[str, Any]:
    """These columns of the file as arrays of numbers, NaN where there is none.

    Raises
    ------
    Unreadable
        If it is no such file, lacks a column, or has too many rows.
    FileNotFoundError
        If it is gone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check(file.metadata, most)
            if missing := set(names) - set(file.schema_arrow.names):
                raise Unreadable(f"it has no column {min(missing)}")
            table = file.read(columns=list(names))
        return {name: _numbers(table[name]) for name in names}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise Unreadable(str(error)) from error


def _check(metadata: Any, most: int) -> None:
    if metadata.num_rows > most:
        raise Unreadable(f"it has more than {most} rows")
    size = sum(
        metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)
    )
    if size > most * _ROW_BYTES:
        raise Unreadable("it unpacks to more than is read")


def _numbers(column: Any) -> NDArray[Any]:
    import numpy as np

    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=float)
