"""How does a survey that is there as HiPS look in a field?

hips2fits is asked for tiles of a fixed grid on the sky, not for the pixels of an image: images of
one field share them, and no service has to understand an image's distortions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from stdpipe.astrometry import spherical_distance

from skyrelay.imaging.pieces import Piece
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Remote, Request, answers
from skyrelay.sky.remote.services import HIPS2FITS
from skyrelay.sky.surveys import HIPS, HipsSurvey

#: Pixels along a tile, without and with what it has in common with its neighbours.
_SIDE, _FULL_SIDE = 1000, 1032


@dataclass(frozen=True)
class Tile:
    """A square of sky with its centre in degrees, its pixels in arcsec."""

    ra: float
    dec: float
    pixel_scale: float


def tiles_of(cone: Cone, pixel_scale: float) -> list[Tile]:
    """The tiles that a cone touches: in zones of declination, and columns within each."""
    height = _SIDE * pixel_scale / 3600
    reach = cone.radius + height / np.sqrt(2) * 1.05
    first, last = (
        int(np.floor((np.clip(cone.dec + sign * cone.radius, -90, 90) + 90) / height))
        for sign in (-1, 1)
    )
    tiles: list[Tile] = []
    for zone in range(first, last + 1):
        south, north = zone * height - 90, min((zone + 1) * height - 90, 90.0)
        if south >= 90:
            continue
        widest = np.cos(np.radians(0.0 if south < 0 < north else min(abs(south), abs(north))))
        count = max(1, int(np.ceil(360 * widest / height)))
        ra = (np.arange(count) + 0.5) * 360 / count
        near = spherical_distance(cone.ra, cone.dec, ra, np.full(count, (south + north) / 2))
        tiles += [Tile(float(each), (south + north) / 2, pixel_scale) for each in ra[near < reach]]
    return tiles


def pixel_scale_for(survey: HipsSurvey, wanted: float) -> float:
    """Arcsec per pixel to ask for: the survey's own, times a power of 2 for coarser images."""
    coarser = max(0, int(np.floor(np.log2(max(wanted / survey.pixel_scale, 1.0)))))
    return survey.pixel_scale * 2.0**coarser


def pieces_of(
    remote: Remote, name: str, band: str, cone: Cone, pixel_scale: float
) -> Iterator[Piece]:
    """What the survey shows of a cone, for an image of ``pixel_scale`` arcsec.

    Raises
    ------
    Permanent, Retriable
        As `Remote.fetch` does.
    """
    survey = HIPS[name]
    for tile in tiles_of(cone, pixel_scale_for(survey, pixel_scale)):
        yield fetch_square(
            remote, survey.bands[band], tile.ra, tile.dec, _FULL_SIDE, tile.pixel_scale
        )


def fetch_square(
    remote: Remote, hips: str, ra: float, dec: float, side: int, pixel_scale: float
) -> Piece:
    """The square of ``side`` pixels around a position, north up."""
    request = Request(
        params={
            "hips": hips,
            "ra": round(ra, 7),
            "dec": round(dec, 7),
            "width": side,
            "height": side,
            "fov": round(side * pixel_scale / 3600, 9),
            "projection": "TAN",
            "coordsys": "icrs",
            "format": "fits",
        }
    )
    image, header = remote.fetch(HIPS2FITS, request, answers.image)
    fluxes = _linear(np.asarray(image, dtype=np.float64), hips)
    return Piece(fluxes, ~np.isfinite(fluxes), WCS(header))


def _linear(image: NDArray[np.float64], hips: str) -> NDArray[np.float64]:
    """Fluxes: those of Pan-STARRS, in all filters but g, are there on a scale of asinh."""
    if "PanSTARRS" in hips and not hips.endswith("PanSTARRS/DR1/g"):
        linear: NDArray[np.float64] = 2 * np.sinh(image * 0.4 * np.log(10))
        return linear
    return image
