"""How bright are the targets, whether they were detected or not?"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.imaging.apertures import Apertures, Exposure, disc, measure
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.calibration import Calibration
from skyrelay.imaging.flags import APERTURE_MASKED, NOT_MEASURED
from skyrelay.sky.targets import pixels_of
from skyrelay.stage.context import StageContext

#: A position whose aperture is masked by more than this part is not measured. Less is the edge of
#: a cosmic ray, and costs no more than a few per cent of a star's light.
MOST_MASKED = 0.1


def measure_targets(
    targets: list[dict[str, Any]],
    wcs: WCS | None,
    exposure: Exposure,
    apertures: Apertures,
    calibration: Calibration | None,
    *,
    filter_name: str,
    sn: float,
    centroid: bool,
    log: Log,
) -> Table:
    """Forced photometry at the targets' positions.

    Returns
    -------
    Table
        One row per target: ``ra dec x y flux fluxerr mag magerr flags bg_fluxerr mag_calib
        mag_calib_err mag_limit mag_filter_name mag_color_name mag_color_term``, and where the
        position was centred ``ra_orig dec_orig``. ``mag_limit`` is what gives the signal-to-noise
        ratio ``sn`` above the background at that place. Where the mask hides the target nothing
        is measured: NaN. So are positions on the sky without ``wcs``, and calibrated magnitudes
        without ``calibration``.
    """
    x, y = pixels_of(targets, wcs)
    height, width = exposure.data.shape
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    table = Table()
    table["name"] = [str(target.get("name", "")) for target in targets]
    table["ra"], table["dec"] = _positions(targets, wcs, x, y)
    table["x"], table["y"] = np.where(inside, x, np.nan), np.where(inside, y, np.nan)
    table["flags"] = np.where(inside, 0, NOT_MEASURED)
    for name in np.asarray(table["name"])[~inside]:
        log(f"Warning: Target {name} lies outside the image")
    original = table["ra"].copy(), table["dec"].copy()
    table = measure(table, exposure, apertures, centroid=centroid, log=log)
    table["flags"][~inside] |= NOT_MEASURED
    if centroid and wcs is not None:
        table["ra"][inside], table["dec"][inside] = wcs.all_pix2world(
            table["x"][inside], table["y"][inside], 0
        )
        table["ra_orig"], table["dec_orig"] = original
    _calibrate(table, calibration, sn)
    forget_masked(table, exposure.mask, apertures.radius)
    _describe(table, calibration, filter_name)
    return table


def forget_masked(table: Table, mask: NDArray[np.bool_], radius: float) -> None:
    """Replace by NaN what was "measured" of targets that are hidden by the mask.

    A target is hidden if its own pixel is masked, or `MOST_MASKED` of the circle of ``radius``
    pixels around it.
    """
    hidden = np.array([_is_hidden(mask, row, radius) for row in table], bool)
    for name in _MEASURED:
        if name in table.colnames:
            table[name] = np.where(
                hidden, np.nan, np.ma.filled(np.ma.asarray(table[name], float), np.nan)
            )


def _is_hidden(mask: NDArray[np.bool_], row: Table.Row, radius: float) -> bool:
    x, y = row["x"], row["y"]
    if not np.isfinite(x) or not np.isfinite(y):
        return False
    own = mask[min(max(round(y), 0), mask.shape[0] - 1), min(max(round(x), 0), mask.shape[1] - 1)]
    window, around = disc(row, mask.shape, max(radius, 0.5**0.5))
    return bool(own or mask[window][around].mean() > MOST_MASKED)


_MEASURED = (
    *("flux", "fluxerr", "bg_fluxerr", "mag", "magerr"),
    *("mag_calib", "mag_calib_err", "mag_limit"),
)


def keep_targets(context: StageContext, table: Table | None) -> None:
    """Keep magnitude, S/N and limit of every target as values of the stage.

    A target that is hidden by masked pixels has none, and makes the result degraded.
    """
    rows = [] if table is None else list(table)
    context.measure("n_targets", len(rows), doc="Number of targets.")
    for index, row in enumerate(rows):
        name = row["name"]
        if int(row["flags"]) & APERTURE_MASKED:
            if np.isfinite(row["fluxerr"]):
                context.log(f"Warning: Target {name} has masked pixels at its edge")
            else:
                context.degrade(f"Target {name} lies on pixels that cannot be measured.")
        magnitude = _finite(row["mag_calib"])
        context.measure(
            f"target_{index}_mag",
            magnitude,
            error=None if magnitude is None else _finite(row["mag_calib_err"]),
            unit="mag",
            doc=f"Calibrated magnitude of {name}; none if its flux is not positive.",
        )
        context.measure(
            f"target_{index}_sn",
            _finite(row["flux"] / row["fluxerr"]) if row["fluxerr"] > 0 else None,
            doc=f"Signal-to-noise ratio of {name}.",
        )
        context.measure(
            f"target_{index}_mag_limit",
            _finite(row["mag_limit"]),
            unit="mag",
            doc=f"Limiting magnitude at {name}.",
        )


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _positions(targets: list[dict[str, Any]], wcs: WCS | None, x: Any, y: Any) -> tuple[Any, Any]:
    """Sky positions as given, else those of the pixels."""
    ra = np.array([float(target.get("ra", np.nan)) for target in targets])
    dec = np.array([float(target.get("dec", np.nan)) for target in targets])
    pixels = np.array(["x" in target for target in targets])
    if wcs is not None and pixels.any():
        ra[pixels], dec[pixels] = wcs.all_pix2world(x[pixels], y[pixels], 0)
    return ra % 360, dec


def _calibrate(table: Table, calibration: Calibration | None, sn: float) -> None:
    if calibration is None:
        for name in ("mag_calib", "mag_calib_err", "mag_limit"):
            table[name] = np.full(len(table), np.nan)
        return
    calibration.apply(table)
    noise = np.asarray(table["bg_fluxerr"], float)
    limit = np.full(len(table), np.nan)
    seen = noise > 0
    limit[seen] = -2.5 * np.log10(sn * noise[seen])
    at_limit = table["x", "y"].copy()
    at_limit["mag"] = limit
    table["mag_limit"] = limit + calibration.at(at_limit)[0]


def _describe(table: Table, calibration: Calibration | None, filter_name: str) -> None:
    color_term = None if calibration is None else calibration.color_term
    table["mag_filter_name"] = filter_name
    table["mag_color_name"] = (
        calibration.columns.color_name if calibration and color_term is not None else ""
    )
    table["mag_color_term"] = color_term or 0.0
    for columns, unit in (
        (("ra", "dec", "ra_orig", "dec_orig"), "deg"),
        (("x", "y"), "pix"),
        (("mag", "magerr", "mag_calib", "mag_calib_err", "mag_limit"), "mag"),
        (("flux", "fluxerr", "bg_fluxerr"), "adu"),
    ):
        for name in columns:
            if name in table.colnames:
                table[name].unit = unit
