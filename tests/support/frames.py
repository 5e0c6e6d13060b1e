"""How does a test observe one and the same field several times, each time a little differently?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

#: Degrees per pixel.
SCALE = 1 / 3600
FWHM = 3.5
#: Total light of the brightest and of the faintest star, in ADU.
BRIGHTEST, FAINTEST = 1e5, 3e3


@dataclass(frozen=True)
class Pointing:
    """Where the telescope points: shift in pixels, rotation in degrees."""

    dx: float = 0.0
    dy: float = 0.0
    rotation: float = 0.0

    def wcs(self, size: int) -> WCS:
        """True coordinates of the frame."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [150.0, 20.0]
        wcs.wcs.crpix = [size / 2 + self.dx, size / 2 + self.dy]
        angle = np.radians(self.rotation)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wcs.wcs.cd = SCALE * np.array([[-1.0, 0.0], [0.0, 1.0]]) @ turn
        return wcs


@dataclass(frozen=True)
class Sky:
    """Stars of a field: degrees, and total light in ADU."""

    ra: Any
    dec: Any
    light: Any

    @staticmethod
    def of(seed: int, stars: int = 60, size: int = 300) -> Sky:
        """A field of random stars, apart from each other, that fills a frame of ``size`` pixels."""
        rng = np.random.default_rng(seed)
        places: list[Any] = []
        while len(places) < stars:
            place = rng.uniform(15, size - 15, 2)
            if all(np.hypot(*(place - other)) > 5 * FWHM for other in places):
                places.append(place)
        ra, dec = Pointing().wcs(size).all_pix2world(*np.transpose(places), 0)
        return Sky(ra, dec, np.geomspace(BRIGHTEST, FAINTEST, stars))

    def frame(
        self,
        pointing: Pointing,
        seed: int,
        *,
        size: int = 300,
        sky: float = 500.0,
        gain: float = 2.0,
        scale: float = 1.0,
    ) -> Any:
        """Pixels of an exposure in ADU; ``scale``: how much of the light arrives."""
        x, y = pointing.wcs(size).all_world2pix(self.ra, self.dec, 0)
        rows, columns = np.mgrid[:size, :size]
        sigma = FWHM / 2.3548
        image = np.full((size, size), sky)
        for x0, y0, light in zip(x, y, self.light * scale, strict=True):
            profile = np.exp(-((columns - x0) ** 2 + (rows - y0) ** 2) / (2 * sigma**2))
            image += light * profile / (2 * np.pi * sigma**2)
        rng = np.random.default_rng(seed)
        return (rng.poisson(image * gain) / gain + rng.normal(0, 3, image.shape)).astype(np.float32)


def write_frame(
    path: Path, pixels: Any, pointing: Pointing, *, number: int = 0, located: bool = True
) -> None:
    """Write a frame with its header; ``number``: how many minutes after the first."""
    header = pointing.wcs(pixels.shape[0]).to_header() if located else fits.Header()
    header.update(
        {
            "DATE-OBS": f"2024-05-14T23:{10 + number:02d}:00.000",
            "EXPTIME": 30.0,
            "GAIN": 2.0,
            "SATURATE": 60000.0,
            "FILTER": "r",
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.writeto(path, pixels, header)
