"""What is told to SkyPortal of all targets of a task, as a table to be sent by hand?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astropy.table import Table
from astropy.time import Time

from gateway.core import Gateway
from gateway.models import Task
from gateway.skyportal.measurement import LARGEST_ERROR, TABLES, finite
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
    measured = gateway.store.read_version(task.id, _best_table, TABLES["best"])
    if measured is None:
        raise Permanent("No target of it was measured.")
    if not task.config.get("time"):
        raise Permanent("The time of its observation is not known.")
    mjd = Time(str(task.config["time"])).mjd
    for row in measured:
        band = bandpass_of(str(row["mag_filter_name"]))
        if band is None:
            raise Permanent(f"SkyPortal knows no filter {row['mag_filter_name']}.")
        magnitude, error, limit = (
            finite(row[name]) for name in ("mag_calib", "mag_calib_err", "mag_limit")
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


def _best_table(folder: Path) -> Table | None:
    path = next((folder / name for name in TABLES["best"] if (folder / name).exists()), None)
    return None if path is None else Table.read(path, format="votable")
