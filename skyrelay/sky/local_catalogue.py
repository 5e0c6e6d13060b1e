"""How is a user's own table of stars read as a reference catalogue?

Any table that astropy reads will do, and a folder of Parquet files by HEALPix cell (see `hats`).
Columns are recognized by their names, whoever chose them, and get those of VizieR: ``RAJ2000``,
``DEJ2000``, ``<filter>mag``, ``e_<filter>mag``.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle
from astropy.table import Column, Table

from skyrelay.errors import Permanent
from skyrelay.settings import Settings
from skyrelay.sky import hats
from skyrelay.sky.columns import floats, position_error, without_objects
from skyrelay.sky.filters import FILTERS
from skyrelay.sky.healpix import Cone
from skyrelay.store.inputs import check_catalogue

_RA = {"ra", "raj2000", "radeg", "rad", "rajd", "raicrs", "alpha", "alphaj2000", "rightascension"}
_DEC = {"dec", "dej2000", "decj2000", "dedeg", "decdeg", "deicrs", "decicrs", "delta", "de"}
_DEC |= {"deltaj2000", "declination"}
_RA |= {"rightascensionj2000", "ramean", "rastack", "meanra"}
_DEC |= {"declinationj2000", "decmean", "decstack", "meandec"}
_ERROR = re.compile(
    r"(^|_)(e|err|error|sig|sigma|unc|d|rms|std)(_|$)|err(or)?$|(?<=mag)err(?=_)|^e(?=mag$)", re.I
)
#: What surveys add to the name of a band.
_DECORATION = re.compile(
    r"magnitude|mag|mean|median|psf|phot|petro|model|cmodel|aper?|auto|kron|ps1|sdss|best|std|_|\.",
    re.I,
)
_NAMELESS = {"", "ab", "vega", "cat", "ref", "0"}


def find_catalogue(name: str, task_folder: Path, settings: Settings) -> Path:
    """The file, or the folder, of a local catalogue: in the task's or under the data folder.

    Tasks may lie in the data folder; they are others', and not looked into.

    Raises
    ------
    Permanent
        If it is not there, or the name leads out of both.
    """
    if not name.strip():
        raise Permanent("cat_name=local needs the name of the catalogue in cat_file.")
    check_catalogue(name, settings)
    tasks = settings.tasks_path.resolve()
    for root in (task_folder, settings.data_path):
        try:
            path = (root / name).resolve()
            there = path.is_file() or hats.is_catalogue(path)
        except (OSError, RuntimeError, ValueError):
            continue  # A name that no file can have, or links that lead in a circle.
        if there and not (root == settings.data_path and path.is_relative_to(tasks)):
            if not path.is_relative_to(root.resolve()):
                raise Permanent(f"The catalogue '{name}' leads out of its folder.")
            return path
    raise Permanent(f"There is no catalogue '{name}' in the task or in the data folder.")


def read_catalogue(path: Path, filter_name: str, cone: Cone) -> Table:
    """Stars of a local catalogue, with the columns of a catalogue from VizieR.

    Parameters
    ----------
    path : Path
        The file, or the folder.
    filter_name : str
        Filter that a magnitude without a name is taken for.
    cone : Cone
        What is needed of it; of a file, all stars come.

    Returns
    -------
    Table
        ``RAJ2000``, ``DEJ2000`` (degrees), ``<filter>mag`` and ``e_<filter>mag`` (mag) for
        every filter that was recognized, ``e_RAJ2000`` and ``e_DEJ2000`` (degrees) if the table
        has errors of its positions, and the table's other columns.

    Raises
    ------
    Permanent
        If it is no table, or has no positions or no magnitudes.
    """
    table = hats.read(path, cone) if path.is_dir() else read_table(path)
    magnitudes, errors, names, position_errors = _recognize(table, filter_name)
    positions = _both(names, table, path)
    if not magnitudes:
        raise Permanent(
            f"The catalogue {path.name} has no magnitudes: name them 'rmag', 'e_rmag' or so."
        )
    stars = Table()
    stars["RAJ2000"] = _degrees(table[positions[0]], hours=True, path=path) % 360
    stars["DEJ2000"] = _degrees(table[positions[1]], hours=False, path=path)
    for name, column in zip(("e_RAJ2000", "e_DEJ2000"), position_errors, strict=True):
        if column is not None:
            stars[name] = position_error(table[column])
    for band, column in magnitudes.items():
        stars[FILTERS[band].column] = _numbers(table[column])
        if band in errors:
            stars[f"e_{FILTERS[band].column}"] = _numbers(table[errors[band]])
    used = {*magnitudes.values(), *errors.values(), *positions, *position_errors}
    for column in table.colnames:
        if column not in used and column not in stars.colnames and table[column].ndim == 1:
            stars[column] = table[column]
    stars.meta["name"] = path.name
    without_objects(stars)
    return stars[np.isfinite(stars["RAJ2000"]) & np.isfinite(stars["DEJ2000"])]


def read_table(path: Path) -> Table:
    """The table in a file, with plain columns.

    Raises
    ------
    Permanent
        If it is none, or empty.
    """
    table = _read(path)
    # Columns of ECSV may be objects of astropy, as times.
    table.keep_columns([name for name in table.colnames if hasattr(table[name], "dtype")])
    if not len(table):
        raise Permanent(f"The catalogue {path.name} is empty.")
    return table


def with_positions(table: Table, path: Path) -> tuple[Table, str, str]:
    """The table with its positions in degrees, and the names of their columns.

    Raises
    ------
    Permanent
        If it has no positions, or they cannot be understood.
    """
    names = _both(_recognize(table, "r")[2], table, path)
    for name, hours in zip(names, (True, False), strict=True):
        table[name] = Column(_degrees(table[name], hours=hours, path=path), unit=u.deg)
    table[names[0]] %= 360
    return table, *names


def _both(names: tuple[str | None, str | None], table: Table, path: Path) -> tuple[str, str]:
    ra, dec = names
    if ra is None or dec is None:
        raise Permanent(
            f"The catalogue {path.name} has no columns 'ra' and 'dec', "
            f"only {', '.join(table.colnames[:12])}."
        )
    return ra, dec


def _read(path: Path) -> Table:
    with path.open("rb") as file:
        head = file.read(4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if head.startswith(b"PAR1"):
                return Table.read(path, format="parquet")
            if head.startswith(b"SIMPLE"):
                return Table.read(path, format="fits")
            if b"<VOTABLE" in head or head.lstrip().startswith(b"<?xml"):
                return Table.read(path, format="votable")
            return _read_text(path, head.decode("utf-8", "replace"))
        except Exception as error:
            sentence = str(error).strip().splitlines()
            raise Permanent(
                f"The catalogue {path.name} cannot be read as a table "
                f"({sentence[0][:150] if sentence else type(error).__name__})."
            ) from None


def _read_text(path: Path, head: str) -> Table:
    """A text table; without a header it holds ra, dec, a magnitude and its error."""
    if head.startswith("# %ECSV"):
        return Table.read(path, format="ascii.ecsv")
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith("#")]
    words = re.split(r"[\s,;]+", lines[0].strip()) if lines else []
    if words and all(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", word, re.I) for word in words):
        if len(words) < 3:
            raise ValueError("three columns are the least: ra, dec, magnitude")
        delimiter = next((sign for sign in ",;" if sign in lines[0]), None)
        return _table_of_numbers(path, head, len(words), delimiter)
    return Table.read(path, format="ascii")


def _table_of_numbers(path: Path, head: str, columns: int, delimiter: str | None) -> Table:
    """A text table of numbers: named by the comment above it, or by convention."""
    options = {"delimiter": delimiter} if delimiter else {}
    table = Table.read(path, format="ascii.no_header", **options)
    comments = [line for line in head.splitlines() if line.startswith("#")]
    names = re.split(r"[\s,;|]+", comments[-1].lstrip("# ").strip()) if comments else []
    if len(names) != columns or len(set(names)) != columns:
        names = ["ra", "dec", "mag", "magerr", *(f"column{n}" for n in range(5, columns + 1))]
    table.rename_columns(table.colnames, names[:columns])
    return table


def _recognize(
    table: Table, filter_name: str
) -> tuple[dict[str, str], dict[str, str], tuple[Any, Any], tuple[Any, Any]]:
    """Columns of magnitudes and errors by filter, of the position, and of its errors."""
    magnitudes: dict[str, str] = {}
    errors: dict[str, str] = {}
    position: dict[str, str] = {}
    position_error: dict[str, str] = {}
    for column in table.colnames:
        is_error = bool(_ERROR.search(column))
        bare = _ERROR.sub("_", column).strip("_") if is_error else column
        simple = re.sub(r"[\W_]", "", bare).lower()
        axis = "ra" if simple in _RA else "dec" if simple in _DEC else None
        if axis is not None:
            (position_error if is_error else position).setdefault(axis, column)
            continue
        if not _is_numeric(table[column]):
            continue
        band = _band_of(bare, filter_name)
        if band == "y" and column in ("y", "Y") and {"x", "X"} & set(table.colnames):
            continue  # A pixel position.
        if band is not None:
            (errors if is_error else magnitudes).setdefault(band, column)
    return (
        magnitudes,
        errors,
        (position.get("ra"), position.get("dec")),
        (position_error.get("ra"), position_error.get("dec")),
    )


def _band_of(name: str, filter_name: str) -> str | None:
    """Filter of a column of magnitudes or their errors, called ``name`` without the error."""
    if gaia := re.fullmatch(r"phot_(g|bp|rp)_mean_mag", name, re.I):
        return gaia[1].upper()
    rest = _DECORATION.sub("", name)
    says_magnitude = "mag" in name.lower()
    if rest.lower() in _NAMELESS:
        return filter_name if says_magnitude or not name else None
    if rest in FILTERS:
        return rest
    return {"K": "Ks", "k": "Ks", "ks": "Ks", "j": "J", "h": "H", "bp": "BP", "rp": "RP"}.get(rest)


def _is_numeric(column: Any) -> bool:
    return column.dtype.kind in "fiu" and column.ndim == 1


def _numbers(column: Any) -> Any:
    """Plain floats, NaN where there is no value; survey's fillers (-99, 99, -999) are none."""
    values = floats(column)
    return np.where((values <= -50) | (values >= 50), np.nan, values)


def _degrees(column: Any, *, hours: bool, path: Path) -> Any:
    if column.dtype.kind in "fiu":
        values = floats(column)
        unit = getattr(column, "unit", None)
        return (values * unit).to_value(u.deg) if unit in (u.hourangle, u.rad) else values
    texts = [str(text).strip() for text in column]
    unit = u.hourangle if hours and re.search(r"[:hH ]", texts[0]) else u.deg
    try:
        return Angle(texts, unit=unit).deg
    except ValueError:
        raise Permanent(
            f"The positions in the catalogue {path.name} cannot be understood: '{texts[0]}'."
        ) from None
