"""How bright is what lies at these positions?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from photutils.utils import calc_total_error
from stdpipe import photometry

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.sky import LocalSky, local_sky
from skyrelay.sky.columns import floats


@dataclass(frozen=True)
class Apertures:
    """Aperture radius and background annulus, in units of the FWHM (pixels)."""

    fwhm: float
    rel_aper: float
    rel_bg1: float
    rel_bg2: float
    optimal: bool = False

    def __post_init__(self) -> None:
        if self.rel_bg2 <= self.rel_bg1:
            raise Permanent(
                f"The background annulus makes no sense: its outer radius rel_bg2={self.rel_bg2:g} "
                f"must be larger than its inner radius rel_bg1={self.rel_bg1:g}."
            )
        if self.rel_bg1 < self.rel_aper:
            raise Permanent(
                f"The background annulus (rel_bg1={self.rel_bg1:g}) begins inside the aperture "
                f"(rel_aper={self.rel_aper:g}): make rel_bg1 larger."
            )

    @property
    def radius(self) -> float:
        """Aperture radius in pixels."""
        return self.fwhm * self.rel_aper


@dataclass(frozen=True)
class Exposure:
    """Pixels to measure on, and what their noise is made of.

    Attributes
    ----------
    data : ndarray
        Pixels in ADU.
    mask : ndarray of bool
        True where pixels are not to be used.
    gain : float
        e-/ADU.
    bg_size : int
        Mesh of the background in pixels.
    """

    data: Any
    mask: Any
    gain: float
    bg_size: int


def measure(
    positions: Table,
    exposure: Exposure,
    apertures: Apertures,
    *,
    centroid: bool = False,
    sn: float | None = None,
    log: Log,
) -> Table:
    """Flux in apertures (or by optimal extraction) at the pixels ``x``, ``y`` of a table.

    Adds stdpipe's columns ``flux``, ``fluxerr`` (ADU), ``mag`` = -2.5 log10(flux), ``magerr``,
    ``bg_fluxerr``, and raises bits in ``flags``. The sky is that of the annulus, without the
    sources in it.
    """
    mask = exposure.mask | ~np.isfinite(exposure.data)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        sky = local_sky(
            np.asarray(exposure.data, dtype=float),
            mask,
            exposure.bg_size,
            apertures.fwhm,
            (apertures.rel_bg1 * apertures.fwhm, apertures.rel_bg2 * apertures.fwhm),
        )
        noise = np.asarray(calc_total_error(exposure.data - sky.level, sky.noise, exposure.gain))
        measured = photometry.measure_objects(
            positions,
            exposure.data,
            aper=apertures.rel_aper,
            fwhm=apertures.fwhm,
            optimal=apertures.optimal,
            mask=exposure.mask,
            bg=sky.level,
            err=noise,
            centroid_iter=10 if centroid else 0,
            verbose=log,
        )
        return _with_errors_of_sky(measured, sky, sn)


def _with_errors_of_sky(measured: Table, sky: LocalSky, sn: float | None) -> Table:
    """Add ``bg_fluxerr``, and to the errors what the level of the sky is uncertain by."""
    at = tuple(
        _nearest(measured[name], sky.level.shape[axis]) for name, axis in (("y", 0), ("x", 1))
    )
    area = np.asarray(measured["npix_aper"], dtype=float)
    level_error = area * sky.error[at]
    measured["bg_fluxerr"] = np.hypot(np.sqrt(area) * sky.noise[at], level_error)
    relative = np.hypot(measured["fluxerr"], level_error) / measured["fluxerr"]
    measured["fluxerr"] *= relative
    measured["magerr"] *= relative
    return measured if not sn else measured[np.asarray(measured["magerr"]) < 1 / sn]


def signal_to_noise(objects: Table) -> NDArray[np.float64]:
    """Flux over its error, of each object."""
    return floats(objects["flux"]) / floats(objects["fluxerr"])


def disc(
    row: Table.Row, shape: tuple[int, ...], radius: float
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """The window around an object (``x``, ``y``) and which of its pixels are within ``radius``."""
    x, y = float(row["x"]), float(row["y"])
    window = (
        slice(max(0, int(y - radius)), max(0, min(shape[0], int(y + radius) + 2))),
        slice(max(0, int(x - radius)), max(0, min(shape[1], int(x + radius) + 2))),
    )
    rows, columns = np.ogrid[window]
    return window, (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def _nearest(positions: Any, length: int) -> Any:
    return np.clip(np.nan_to_num(np.round(np.asarray(positions, float))), 0, length - 1).astype(int)
