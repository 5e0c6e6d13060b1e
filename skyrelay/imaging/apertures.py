"""How bright is what lies at these positions?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from stdpipe import photometry

from skyrelay.errors import Permanent


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
    log: Callable[..., None],
) -> Table:
    """Flux in apertures (or by optimal extraction) at the pixels ``x``, ``y`` of a table.

    Adds stdpipe's columns ``flux``, ``fluxerr`` (ADU), ``mag`` = -2.5 log10(flux), ``magerr``,
    ``bg_local``, ``bg_fluxerr``, and raises bits in ``flags``.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return photometry.measure_objects(
            positions,
            exposure.data,
            aper=apertures.rel_aper,
            bkgann=(apertures.rel_bg1, apertures.rel_bg2),
            fwhm=apertures.fwhm,
            optimal=apertures.optimal,
            mask=exposure.mask,
            gain=exposure.gain,
            bg_size=exposure.bg_size,
            centroid_iter=10 if centroid else 0,
            sn=sn,
            verbose=log,
        )
