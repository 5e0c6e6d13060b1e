"""What is in a column of a table, whatever kind of column it is?"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Column, Table
from numpy.typing import NDArray

#: Position error of stars for which a catalogue gives none, in degrees.
POSITION_ERROR = 0.1 / 3600


def floats(column: Any) -> NDArray[np.float64]:
    """Plain floats of a column without its unit; NaN where it is masked."""
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    return values


def position_error(column: Any) -> Column:
    """Errors of positions in degrees, as ``e_RAJ2000`` and ``e_DEJ2000`` hold them here.

    The column may be in any unit of angle; without a unit it is in arcsec. Where it has no
    sensible value, that is `POSITION_ERROR`.
    """
    values = floats(column)
    try:
        factor = u.Unit(getattr(column, "unit", None) or u.arcsec).to(u.deg)
    except (u.UnitConversionError, TypeError):
        factor = u.arcsec.to(u.deg)
    known = np.isfinite(values) & (values > 0)
    return Column(np.where(known, values * factor, POSITION_ERROR), unit=u.deg)


def without_objects(table: Table) -> Table:
    """The table with texts where it has columns of Python objects, which no file format takes."""
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "O":
            hidden = np.ma.getmaskarray(np.ma.asarray(column))
            texts = ["" if no else _text(value) for value, no in zip(column, hidden, strict=True)]
            table[name] = np.array(texts, dtype=str)
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
