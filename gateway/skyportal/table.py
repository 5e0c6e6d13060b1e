"""What is told to SkyPortal of all targets of a task, as a table to be sent by hand?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from astropy.time import Time

from gateway.core import Gateway
from gateway.models import Task
from gateway.skyportal.measurement import LARGEST_ERROR, TABLES, finite, rows_of
from skyrelay.errors import Permanent
from skyrelay.sky.bandpasses import bandpass_of

COLUMNS = ("mjd", "mag", "magerr", "limiting_mag", "magsys", "filter")


def photometry(gateway: Gateway, task: Task) -> Iterator[dict[str, Any]]:
    """A row with `COLUMNS` for each target, of the difference image where there is one.

    Raises
    ------
    Permanent
        If there is no photometry, or it cannot be said when or in which band it was made.
    """
    names = TABLES["best"]
    rows = gateway.store.read_version(task.id, lambda folder: rows_of(folder, names), names)
    if rows is None:
        raise Permanent("No target of it was measured.")
    if not task.config.get("time"):
        raise Permanent("The time of its observation is not known.")
    mjd = Time(str(task.config["time"])).mjd
    for row in rows:
        name = str(row.get("mag_filter_name") or "")
        band = bandpass_of(name)
        if band is None:
            raise Permanent(f"SkyPortal knows no filter {name}.")
        magnitude, error, limit = (
            finite(row.get(name)) for name in ("mag_calib", "mag_calib_err", "mag_limit")
        )
        seen = magnitude is not None and error is not None and error < LARGEST_ERROR
        yield {
            "mjd": f"{mjd:.6f}",
            "mag": f"{magnitude:.3f}" if seen else "",
            "magerr": f"{error:.3f}" if seen else "",
            "limiting_mag": "" if limit is None else f"{limit:.3f}",
            "magsys": band.system,
            "filter": band.name,
        }
