"""How does a light curve look in the table that STDWeb offers, for programs that read that one?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from gateway.measurements.index import FILES
from gateway.measurements.lightcurve import Point
from gateway.models import Source
from gateway.tables import Column

_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)

#: Columns of STDWeb's table, in its order.
LIGHT_CURVE = (
    Column("task_id", "int", doc="Number of the task.", ucd="meta.id"),
    Column("original_name", "text", doc="Name of the task's image.", ucd="meta.id"),
    Column("source_file", "text", doc="Product that it is from.", ucd="meta.file"),
    Column("time", "text", doc="Time of the observation, ISO 8601 (UTC).", ucd="time.epoch"),
    Column("filter", "text", doc="Filter of the image.", ucd="meta.id;instr.filter"),
    Column("distance_arcsec", unit="arcsec", doc="From the position.", ucd="pos.angDistance"),
    Column("ra", unit="deg", doc="Right ascension (ICRS).", ucd="pos.eq.ra"),
    Column("dec", unit="deg", doc="Declination (ICRS).", ucd="pos.eq.dec"),
    Column("mag_calib", unit="mag", doc="Calibrated magnitude.", ucd="phot.mag"),
    Column("mag_calib_err", unit="mag", doc="Its uncertainty.", ucd="stat.error;phot.mag"),
    Column("band", "text", doc="Band of the magnitude.", ucd="instr.bandpass"),
    Column("flags", "int", doc="Flags of the measurement.", ucd="meta.code"),
)


def rows(points: Iterable[Point]) -> Iterator[Point]:
    """The measured points under STDWeb's names; it has no column for upper limits."""
    for point in points:
        if point["mag"] is not None:
            yield {
                "task_id": point["task"],
                "original_name": point["original_name"],
                "source_file": FILES[Source(point["source"])],
                "time": _iso(point["time"]),
                "filter": point["filter"],
                "distance_arcsec": point["distance"],
                "ra": point["ra"],
                "dec": point["dec"],
                "mag_calib": point["mag"],
                "mag_calib_err": point["mag_error"],
                "band": point["filter"],
                "flags": point["flags"],
            }


def _iso(mjd: float | None) -> str:
    if mjd is None:
        return ""
    moment = _MJD_ZERO + timedelta(days=mjd)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
