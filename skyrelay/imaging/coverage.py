"""Which part of the sky does an image cover, as a multi-order coverage map (MOC)?"""

from __future__ import annotations

import warnings

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from mocpy import MOC

#: Points on each side of the image: between the corners a distorted image is no polygon.
_POINTS_PER_SIDE = 8
#: Cells of the map cover at most this part of the image, as far as `_ORDERS` go.
_CELL = 0.01
_ORDERS = range(3, 15)
#: Part of the sky of which an outline is still a polygon.
_LARGEST = 0.1
_SKY = 4 * np.pi * np.degrees(1) ** 2


def coverage_of(wcs: WCS, shape: tuple[int, int], pixel_scale: float) -> str | None:
    """The MOC of an image in its text form; None where its outline is no polygon on the sky.

    Parameters
    ----------
    pixel_scale : float
        Degrees per pixel.
    """
    height, width = shape
    area = height * width * pixel_scale**2 / _SKY
    if area > _LARGEST:
        return None
    steps = np.arange(_POINTS_PER_SIDE) / _POINTS_PER_SIDE
    ones = np.ones_like(steps)
    x = np.concatenate([steps, ones, 1 - steps, 0 * ones]) * width - 0.5
    y = np.concatenate([0 * ones, steps, ones, 1 - steps]) * height - 0.5
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ra, dec = wcs.all_pix2world(x, y, 0)
            outline = SkyCoord(ra, dec, unit="deg", frame="icrs")
            moc = MOC.from_polygon_skycoord(outline, max_depth=_order(shape, pixel_scale))
    except Exception:
        # The outline crosses itself, or is as large as a hemisphere.
        return None
    # Taken the wrong way round, a polygon is all the sky but the image.
    return None if moc.empty() or moc.sky_fraction > 10 * area else str(moc.to_string())


def _order(shape: tuple[int, int], pixel_scale: float) -> int:
    area = shape[0] * shape[1] * pixel_scale**2
    cells = (order for order in _ORDERS if _SKY / (12 * 4**order) < _CELL * area)
    return next(cells, _ORDERS[-1])
