"""What is told to SkyPortal of a task: when, where, how bright, in which band?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.measurements.votable import Unreadable, read_rows
from skyrelay.errors import Permanent
from skyrelay.products import SUB_TARGET, TARGET
from skyrelay.sky.bandpasses import bandpass_of

#: Which tables are looked at for each kind of measurement, the best first.
TABLES = {
    "best": (SUB_TARGET, TARGET),
    "direct": (TARGET,),
    "subtracted": (SUB_TARGET,),
}
#: Magnitudes less certain than this are told as a limit only: 3 sigma, as STDWeb has it.
LARGEST_ERROR = 1 / 3


def photometry_of(
    task_id: int, folder: Path, config: Mapping[str, Any], kind: str, *, limit_only: bool
) -> dict[str, Any]:
    """A measurement of the task's first target as SkyPortal takes it, without source and group.

    Raises
    ------
    Permanent
        Says what the task lacks.
    """
    row = _row(folder, TABLES[kind])
    if row is None and kind == "subtracted":
        raise Permanent("There is no measurement of the target in a difference image.")
    values = row or {
        "mag_filter_name": config.get("cat_col_mag"),
        "mag_limit": config.get("mag_limit"),
    }
    band = bandpass_of(str(values.get("mag_filter_name") or ""))
    limit = finite(values.get("mag_limit"))
    if band is None or limit is None:
        raise Permanent("The task has no calibrated measurement or limit of its target.")
    mag, error = finite(values.get("mag_calib")), finite(values.get("mag_calib_err"))
    certain = mag is not None and error is not None and error < LARGEST_ERROR and not limit_only
    ra, dec = _position(values, config)
    return {
        "mjd": _mjd(config),
        "mag": mag if certain else None,
        "magerr": error if certain else None,
        "limiting_mag": limit,
        "magsys": band.system,
        "filter": band.name,
        "ra": ra,
        "dec": dec,
        "origin": "stdview",
        "altdata": {"stdview": task_id},
    }


def _row(folder: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """The first row of the first table that there is."""
    rows = rows_of(folder, names)
    return rows[0] if rows else None


def rows_of(folder: Path, names: Sequence[str]) -> list[dict[str, Any]] | None:
    """The rows of the first of these tables that there is; None if there is none.

    Raises
    ------
    Permanent
        If it cannot be read.
    """
    for name in names:
        try:
            return read_rows(folder / name)
        except FileNotFoundError:
            continue
        except Unreadable as error:
            raise Permanent(f"The measurements in {name} cannot be read: {error}.") from error
    return None


def _position(values: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[float, float]:
    for ra, dec in (
        (config.get("target_ra"), config.get("target_dec")),
        (values.get("ra"), values.get("dec")),
        (config.get("field_ra"), config.get("field_dec")),
    ):
        found = finite(ra), finite(dec)
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
    raise Permanent("The task has no target and no known position on the sky.")


def _mjd(config: Mapping[str, Any]) -> float:
    from astropy.time import Time

    try:
        return float(Time(config["time"]).mjd)
    except (KeyError, ValueError, TypeError) as error:
        raise Permanent("The time of the image is not known.") from error


def finite(value: Any) -> float | None:
    """The number in a cell of a table, or in a configuration; None if there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
