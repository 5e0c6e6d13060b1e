"""What does SkyPortal get of the photometry of a task's targets?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from astropy.table import Table
from astropy.time import Time

from gateway.core import Gateway
from gateway.models import Task
from skyrelay.errors import Permanent
from skyrelay.products import SUB_TARGET, TARGET
from skyrelay.sky.bandpasses import bandpass_of

COLUMNS = ("mjd", "mag", "magerr", "limiting_mag", "magsys", "filter")
#: A magnitude with a larger error is none: SkyPortal gets the limit alone.
_LARGEST_ERROR = 1 / 3


def photometry(gateway: Gateway, task: Task) -> Iterator[dict[str, Any]]:
    """A row with `COLUMNS` for each target, of the difference image where there is one.

    Raises
    ------
    Permanent
        If there is no photometry, or it cannot be said when or in which band it was made.
    """
    folder = gateway.store.folder(task.id)
    path = next((folder / name for name in (SUB_TARGET, TARGET) if (folder / name).exists()), None)
    if path is None:
        raise Permanent("No target of it was measured.")
    if not task.config.get("time"):
        raise Permanent("The time of its observation is not known.")
    mjd = Time(str(task.config["time"])).mjd
    for row in Table.read(path, format="votable"):
        band = bandpass_of(str(row["mag_filter_name"]))
        if band is None:
            raise Permanent(f"SkyPortal knows no filter {row['mag_filter_name']}.")
        magnitude, error, limit = (
            _number(row[name]) for name in ("mag_calib", "mag_calib_err", "mag_limit")
        )
        seen = magnitude is not None and error is not None and error < _LARGEST_ERROR
        yield {
            "mjd": f"{mjd:.6f}",
            "mag": f"{magnitude:.3f}" if seen else "",
            "magerr": f"{error:.3f}" if seen else "",
            "limiting_mag": "" if limit is None else f"{limit:.3f}",
            "magsys": band.system,
            "filter": band.name,
        }


def _number(value: Any) -> float | None:
    number = float("nan") if value is None or str(value) == "--" else float(value)
    return number if math.isfinite(number) else None
