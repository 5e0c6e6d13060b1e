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

#: Pixels along a tile, without and with what it has in common with its neighbours.
_SIDE, _FULL_SIDE = 1000, 1032


@dataclass(frozen=True)
class Survey:
    """A survey as HiPS.

    Attributes
    ----------
    title : str
        What a person calls it.
    bands : dict of str to str
        The id of its HiPS by filter.
    pixel_scale : float
        Of its images, in arcsec.
    """

    title: str
    bands: dict[str, str]
    pixel_scale: float


#: The surveys by the name that the parameter ``template`` has for them.
SURVEYS: dict[str, Survey] = {
    "skymapper": Survey(
        "SkyMapper",
        # DR4 is there in g, r and i only; the others are of DR1.
        {"u": "CDS/P/skymapper-U", "z": "CDS/P/skymapper-Z"}
        | {band: f"CDS/P/Skymapper/DR4/{band}" for band in "gri"},
        0.5,
    ),
    "des": Survey("DES DR2", {band: f"CDS/P/DES-DR2/{band}" for band in "griz"}, 0.263),
    "decaps": Survey("DECaPS DR2", {band: f"CDS/P/DECaPS/DR2/{band}" for band in "griz"}, 0.262),
    "ztf": Survey("ZTF DR7", {band: f"CDS/P/ZTF/DR7/{band}" for band in "gri"}, 1.01),
    "2mass": Survey(
        "2MASS", {"J": "CDS/P/2MASS/J", "H": "CDS/P/2MASS/H", "Ks": "CDS/P/2MASS/K"}, 1.0
    ),
}


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


def pixel_scale_for(survey: Survey, wanted: float) -> float:
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
    survey = SURVEYS[name]
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
