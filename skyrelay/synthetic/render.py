"""What light falls on the detector, free of noise?"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.synthetic.psf import Pixels, PsfField
from skyrelay.synthetic.sersic import Sersic
from skyrelay.synthetic.spec import COLOURS, Exposure
from skyrelay.synthetic.wcs import to_pixels

#: A stamp ends where the source gives less than this part of the sky noise per pixel.
INVISIBLE = 0.02

#: Sources up to this many pixels outside the image may still reach into it.
OUTSIDE = 100.0


def fluxes(sources: Table, exposure: Exposure) -> NDArray[np.float64]:
    """Total flux in ADU that each source gives in the exposure."""
    blue, red = COLOURS[exposure.band]
    colour = np.asarray(sources[blue]) - np.asarray(sources[red])
    magnitude = np.asarray(sources[exposure.band])
    flux: NDArray[np.float64] = 10 ** (
        -0.4 * (magnitude - exposure.zero_point - exposure.colour_term * colour)
    )
    return flux


def locate(sources: Table, exposure: Exposure, wcs: WCS) -> Table:
    """The sources that reach into the image, with x, y (0-based pixels) and flux (ADU) added."""
    x, y = to_pixels(wcs, sources["ra"], sources["dec"])
    inside = (
        (x > -OUTSIDE)
        & (y > -OUTSIDE)
        & (x < exposure.width + OUTSIDE)
        & (y < exposure.height + OUTSIDE)
    )
    located = sources[inside]
    located["x"], located["y"] = x[inside], y[inside]
    located["flux"] = fluxes(located, exposure)
    return located


def on_image(sources: Table, exposure: Exposure) -> NDArray[np.bool_]:
    """Which of the located sources have their centre on a pixel of the image."""
    x, y = np.asarray(sources["x"]), np.asarray(sources["y"])
    inside: NDArray[np.bool_] = (
        (x > -0.5) & (y > -0.5) & (x < exposure.width - 0.5) & (y < exposure.height - 0.5)
    )
    return inside


def render_stars(stars: Table, exposure: Exposure) -> Pixels:
    """Image (height, width) of point sources with columns x, y, flux: ADU, no sky, no noise."""
    image = np.zeros((exposure.height, exposure.width))
    field = PsfField.of(exposure)
    invisible = INVISIBLE * exposure.sky_rms
    for x, y, flux in _rows(stars, "x", "y", "flux"):
        psf = field.at(x, y)
        half_size = psf.half_size(flux, invisible)
        if _reaches(x, y, half_size, exposure):
            stamp, column, row = psf.stamp(x, y, half_size)
            add_stamp(image, flux * stamp, column, row)
    return image


def render_galaxies(galaxies: Table, exposure: Exposure, wcs: WCS) -> Pixels:
    """Image (height, width) of located galaxies seen through the PSF: ADU, no sky, no noise."""
    image = np.zeros((exposure.height, exposure.width))
    field = PsfField.of(exposure)
    angles = pixel_angles(galaxies, wcs)
    names = ("x", "y", "flux", "sersic", "half_light", "axis_ratio")
    for (x, y, flux, *shape), angle in zip(_rows(galaxies, *names), angles, strict=True):
        index, half_light, axis_ratio = shape
        galaxy = Sersic(index, half_light / exposure.pixel_scale, axis_ratio, float(angle))
        psf = field.at(x, y)
        if _reaches(x, y, galaxy.half_size(psf), exposure):
            stamp, column, row = galaxy.stamp(x, y, psf)
            add_stamp(image, flux * stamp, column, row)
    return image


def pixel_angles(galaxies: Table, wcs: WCS) -> NDArray[np.float64]:
    """Angle of the long axes on the image, degrees from +x to +y."""
    angle = np.radians(np.asarray(galaxies["position_angle"]))
    ra, dec = np.asarray(galaxies["ra"]), np.asarray(galaxies["dec"])
    step = 1 / 3600
    x, y = to_pixels(
        wcs, ra + step * np.sin(angle) / np.cos(np.radians(dec)), dec + step * np.cos(angle)
    )
    dx, dy = x - np.asarray(galaxies["x"]), y - np.asarray(galaxies["y"])
    angles: NDArray[np.float64] = np.degrees(np.arctan2(dy, dx))
    return angles


def add_stamp(image: Pixels, stamp: Pixels, column: int, row: int) -> None:
    """Add a stamp whose first pixel is at (column, row), as far as it lies on the image."""
    height, width = image.shape
    left, right = max(column, 0), min(column + stamp.shape[1], width)
    low, high = max(row, 0), min(row + stamp.shape[0], height)
    if left < right and low < high:
        image[low:high, left:right] += stamp[low - row : high - row, left - column : right - column]


def _reaches(x: float, y: float, half_size: int, exposure: Exposure) -> bool:
    return (
        -half_size <= round(x) < exposure.width + half_size
        and -half_size <= round(y) < exposure.height + half_size
    )


def _rows(table: Table, *names: str) -> list[tuple[float, ...]]:
    columns = [np.asarray(table[name], dtype=float).tolist() for name in names]
    return list(zip(*columns, strict=True))
