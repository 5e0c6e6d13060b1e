"""How is a whole survey on disk read, of which a field needs only a few stars?

A folder in the layout of HATS (hats.readthedocs.io): ``dataset/Norder=k/Dir=d/Npix=p.parquet``
holds the entries in the HEALPix cell p of order k, and ``hats.properties`` names their columns.
Surveys that others publish in this layout can be used as they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Column, Table, vstack
from astropy.table.meta import get_header_from_yaml

from skyrelay.errors import Permanent
from skyrelay.sky.healpix import Cone, cells_in

PROPERTIES = "hats.properties"
DATASET = "dataset"
#: Column with the HEALPix cell of order 29 of every entry, which the files are sorted by.
SPATIAL_INDEX = "_healpix_29"
#: Key of a column's unit in the metadata of its field.
UNIT = b"unit"

_PARTITION = re.compile(r"Norder=(\d+)/Dir=\d+/Npix=(\d+)(?:\.parquet)?$")
#: Cells that share a folder.
CELLS_PER_FOLDER = 10000


def is_catalogue(folder: Path) -> bool:
    """Whether the folder holds a catalogue in this layout."""
    return (folder / PROPERTIES).is_file() or any(_root(folder).glob("Norder=*"))


def partition_path(order: int, cell: int) -> Path:
    """Place of a partition below the folder of the data."""
    folder = cell // CELLS_PER_FOLDER * CELLS_PER_FOLDER
    return Path(f"Norder={order}") / f"Dir={folder}" / f"Npix={cell}.parquet"


def read(folder: Path, cone: Cone) -> Table:
    """The entries of all partitions that the cone touches, as far as they are near it.

    Raises
    ------
    Permanent
        If a partition is damaged, or there is none at all.
    """
    partitions = _partitions(folder)
    if not any(partitions.values()):
        raise Permanent(f"The catalogue {folder.name} has no partitions.")
    touched = [
        cells[cell]
        for order, cells in sorted(partitions.items())
        for cell in sorted(cells.keys() & cells_in(cone, order))
    ]
    near = _near(folder, cone)
    # Of an empty part of the sky there are still the columns.
    paths = touched or [next(iter(next(iter(partitions.values())).values()))]
    tables = [_read_partition(path, near) for path in paths]
    full = [each for each in tables if len(each)]
    if not touched or not full:
        return tables[0][:0]
    return full[0] if len(full) == 1 else vstack(full, metadata_conflicts="silent")


def _root(folder: Path) -> Path:
    """Where the partitions begin; older catalogues have them at the top."""
    return folder / DATASET if (folder / DATASET).is_dir() else folder


def _partitions(folder: Path) -> dict[int, dict[int, Path]]:
    """The partitions, a file or a folder of files each, by order and cell."""
    found: dict[int, dict[int, Path]] = defaultdict(dict)
    for path in _root(folder).glob("Norder=*/Dir=*/Npix=*"):
        if match := _PARTITION.search(path.as_posix()):
            found[int(match[1])][int(match[2])] = path
    return found


def _near(folder: Path, cone: Cone) -> list[tuple[str, str, float]] | None:
    """A condition that spares reading most of a partition's entries."""
    column = _properties(folder).get("hats_col_dec")
    if column is None:
        return None
    return [(column, ">=", cone.dec - cone.radius), (column, "<=", cone.dec + cone.radius)]


def _properties(folder: Path) -> dict[str, str]:
    for name in (PROPERTIES, "properties"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            pairs = (line.partition("=") for line in lines if not line.startswith("#"))
            return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def _read_partition(path: Path, near: Any) -> Table:
    try:
        content = pq.read_table(path, filters=near, partitioning=None)
        return as_table(content, units_of(content.schema))
    except (OSError, pa.ArrowException) as error:
        lines = str(error).splitlines()
        raise Permanent(
            f"The partition {path.name} of the catalogue cannot be read "
            f"({lines[0][:150] if lines else type(error).__name__})."
        ) from None


def as_table(content: Any, units: dict[str, str]) -> Table:
    """Columns of numbers and texts; others, such as lists, are left out."""
    table = Table()
    for field in content.schema:
        kind, column = field.type, content[field.name]
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts = ["" if text is None else text for text in column.to_pylist()]
            table[field.name] = np.array(texts, dtype=str)
        elif pa.types.is_primitive(kind) and not pa.types.is_temporal(kind):
            table[field.name] = Column(column.to_numpy(), unit=units.get(field.name))
    table.remove_columns(set(table.colnames) & {SPATIAL_INDEX, "Norder", "Dir", "Npix"})
    return table


def units_of(schema: Any) -> dict[str, str]:
    """Units by column, as astropy notes them for a whole file, or as they are noted here."""
    noted = (schema.metadata or {}).get(b"table_meta_yaml", b"").decode()
    columns = get_header_from_yaml(noted.splitlines())["datatype"] if noted else []
    units = {each["name"]: each["unit"] for each in columns if each.get("unit")}
    for field in schema:
        if unit := (field.metadata or {}).get(UNIT):
            units[field.name] = unit.decode()
    return units
