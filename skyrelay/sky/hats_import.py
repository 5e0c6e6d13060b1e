"""How does an observatory put a survey on its disk, so that fields are read in no time?

Two passes over the tables, a piece at a time: the first counts, so that every partition gets
about as many entries as are wanted, the second sorts the entries into them. The catalogue
appears whole, by rename, or not at all.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from skyrelay.errors import Permanent
from skyrelay.sky.columns import without_objects
from skyrelay.sky.hats import (
    CELLS_PER_FOLDER,
    DATASET,
    PROPERTIES,
    SPATIAL_INDEX,
    UNIT,
    as_table,
    partition_path,
    units_of,
)
from skyrelay.sky.healpix import FINEST, cells_of
from skyrelay.sky.local_catalogue import read_table, with_positions

#: Entries that a partition should have at most.
ROWS = 1_000_000
#: No partition is finer than this: cells of 0.23 degrees.
_DEEPEST = 8
#: Entries of a Parquet file that are held in memory at once.
_BATCH = 1_000_000
#: Entries that a reader skips or reads together: small, as a field needs but a few.
_ROW_GROUP = 20_000

Cells = NDArray[np.int64]


@dataclass(frozen=True)
class Imported:
    """What came of it."""

    rows: int
    partitions: int


def import_tables(
    tables: Sequence[Path],
    folder: Path,
    *,
    rows: int = ROWS,
    replace: bool = False,
    progress: Callable[[str], object] = lambda text: None,
) -> Imported:
    """Make the catalogue ``folder`` of all tables; all must have the same columns.

    Raises
    ------
    Permanent
        If a table cannot be read or has no positions, or the folder is there already.
    """
    if folder.exists() and not replace:
        raise Permanent(f"{folder} is there already.")
    building = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        (building / DATASET).mkdir(parents=True)
        orders = _orders(_count(tables, progress), rows)
        ra, dec = _sort_in(tables, building, orders, progress)
        made = _finish(building, folder.name, ra, dec, progress)
        _put_in_place(building, folder)
        return made
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _put_in_place(building: Path, folder: Path) -> None:
    replaced = building.with_name(f"{building.name}.replaced")
    if folder.exists():
        folder.rename(replaced)
    try:
        building.rename(folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _pieces(path: Path) -> Iterator[tuple[Table, str, str]]:
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if not is_parquet:
        yield with_positions(read_table(path), path)
        return
    try:
        file = pq.ParquetFile(path)
        units = units_of(file.schema_arrow)
        for batch in file.iter_batches(_BATCH):
            yield with_positions(as_table(pa.Table.from_batches([batch]), units), path)
    except (OSError, pa.ArrowException) as error:
        raise Permanent(f"The catalogue {path.name} cannot be read ({error}).") from None


def _cells(table: Table, ra: str, dec: str, order: int) -> Cells:
    return cells_of(np.asarray(table[ra]), np.asarray(table[dec]), order)


def _count(tables: Sequence[Path], progress: Callable[[str], object]) -> Cells:
    """Entries in every cell of the deepest order."""
    counts = np.zeros(12 * 4**_DEEPEST, dtype=np.int64)
    for path in tables:
        progress(f"counting {path.name}")
        for table, ra, dec in _pieces(path):
            cells = _cells(*_placed(table, ra, dec), _DEEPEST)
            counts += np.bincount(cells, minlength=len(counts))
    if not counts.any():
        raise Permanent("The tables have no entries with a position.")
    return counts


def _placed(table: Table, ra: str, dec: str) -> tuple[Table, str, str]:
    """Without entries that lie nowhere."""
    known = np.isfinite(np.asarray(table[ra], float)) & np.isfinite(np.asarray(table[dec], float))
    return table[known], ra, dec


def _orders(counts: Cells, rows: int) -> NDArray[np.int8]:
    """The order of the partition that each cell of the deepest order belongs to."""
    orders = np.full(len(counts), -1, dtype=np.int8)
    for order in range(_DEEPEST + 1):
        inside = 4 ** (_DEEPEST - order)
        few = counts.reshape(-1, inside).sum(axis=1) <= rows
        orders[np.repeat(few, inside) & (orders < 0)] = order
    orders[orders < 0] = _DEEPEST
    return orders


def _sort_in(
    tables: Sequence[Path],
    building: Path,
    orders: NDArray[np.int8],
    progress: Callable[[str], object],
) -> tuple[str, str]:
    """Write what each piece of the tables has for each partition beside the partition's place."""
    names = ("", "")
    number = 0
    for path in tables:
        progress(f"sorting {path.name}")
        for piece, ra, dec in _pieces(path):
            table, ra, dec = _placed(piece, ra, dec)
            if names not in (("", ""), (ra, dec)):
                raise Permanent(f"The table {path.name} has other columns than the first one.")
            names = (ra, dec)
            if not len(table):
                continue
            finest = _cells(table, ra, dec, FINEST)
            table, finest = table[by_cell := np.argsort(finest, kind="stable")], finest[by_cell]
            content = _as_arrow(table, finest)
            deepest = finest >> (2 * (FINEST - _DEEPEST))
            order = orders[deepest].astype(np.int64)
            cell = deepest >> (2 * (_DEEPEST - order))
            # The entries of a partition follow each other.
            borders = np.flatnonzero(np.diff(order) | np.diff(cell)) + 1
            for first, last in pairwise([0, *borders, len(finest)]):
                place = building / DATASET / partition_path(int(order[first]), int(cell[first]))
                place.with_suffix("").mkdir(parents=True, exist_ok=True)
                pq.write_table(
                    content.slice(first, last - first), place.with_suffix("") / f"{number}.parquet"
                )
            number += 1
    return names


def _as_arrow(table: Table, finest: Cells) -> Any:
    table = without_objects(table)
    columns: list[Any] = [pa.array(finest)]
    fields = [pa.field(SPATIAL_INDEX, pa.int64())]
    for name in table.colnames:
        column = table[name]
        if column.ndim != 1 or column.dtype.kind not in "biufSU" or name == SPATIAL_INDEX:
            continue
        values = column.astype(str) if column.dtype.kind == "S" else column
        hidden = np.ma.getmaskarray(np.ma.asarray(values))
        plain = np.ma.getdata(np.ma.asarray(values))
        array = pa.array(
            plain.astype(plain.dtype.newbyteorder("=")), mask=hidden if hidden.any() else None
        )
        unit = getattr(column, "unit", None)
        columns.append(array)
        fields.append(pa.field(name, array.type, metadata={UNIT: str(unit)} if unit else None))
    return pa.table(columns, schema=pa.schema(fields))


def _finish(
    building: Path, name: str, ra: str, dec: str, progress: Callable[[str], object]
) -> Imported:
    """Make one sorted file of what each partition has, and describe the whole."""
    progress("writing the partitions")
    total, listed = 0, []
    schema: Any = None
    for parts in sorted((building / DATASET).glob("Norder=*/Dir=*/Npix=*")):
        try:
            content = pa.concat_tables([pq.read_table(part) for part in sorted(parts.iterdir())])
        except pa.ArrowInvalid:
            raise Permanent("The tables have different columns.") from None
        pq.write_table(
            content.sort_by(SPATIAL_INDEX), f"{parts}.parquet", row_group_size=_ROW_GROUP
        )
        shutil.rmtree(parts)
        schema = content.schema
        order, cell = (int(parts.parts[at].partition("=")[2]) for at in (-3, -1))
        listed.append((order, cell, content.num_rows))
        total += content.num_rows
    pq.write_metadata(schema, building / DATASET / "_common_metadata")
    rows = [
        f"{order},{cell},{cell // CELLS_PER_FOLDER * CELLS_PER_FOLDER}" for order, cell, _ in listed
    ]
    (building / "partition_info.csv").write_text("\n".join(["Norder,Npix,Dir", *rows, ""]))
    properties = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": total,
        "hats_col_ra": ra,
        "hats_col_dec": dec,
        "hats_col_healpix": SPATIAL_INDEX,
        "hats_col_healpix_order": FINEST,
        "hats_npix_suffix": ".parquet",
        "hats_order": max(order for order, _, _ in listed),
    }
    lines = [f"{key}={value}" for key, value in properties.items()]
    (building / PROPERTIES).write_text("\n".join([*lines, ""]))
    return Imported(total, len(listed))
