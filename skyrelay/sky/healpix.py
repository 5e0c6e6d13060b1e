"""Which HEALPix cells (nested) does a cone touch, and which cone stands for its neighbours?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude
from cdshealpix import nested
from numpy.typing import NDArray

#: The finest order.
FINEST = 29
#: Radii are rounded up to these steps, so many per factor of two.
_STEPS = 4
#: A centre is moved by less than this part of the radius.
_MOVE = 0.25


@dataclass(frozen=True)
class Cone:
    """A circle on the sky, all in degrees (ICRS)."""

    ra: float
    dec: float
    radius: float

    def rounded(self) -> Cone:
        """A somewhat larger cone around it that neighbouring cones have in common.

        Its centre is that of a HEALPix cell, its radius one of a few, so that images of one field
        ask for one and the same.
        """
        step = 2 ** (np.ceil(np.log2(self.radius) * _STEPS - 1e-9) / _STEPS)
        order = order_for(_MOVE * step)
        lon, lat = nested.healpix_to_lonlat(cells_of([self.ra], [self.dec], order), order)
        return Cone(float(lon[0].deg), float(lat[0].deg), float(step + _cell_radius(order)))


def cells_of(ra: Any, dec: Any, order: int) -> NDArray[np.int64]:
    """The cell of each position (degrees)."""
    lon = Longitude(np.asarray(ra, dtype=float) * u.deg)
    lat = Latitude(np.asarray(dec, dtype=float) * u.deg)
    cells: NDArray[np.int64] = nested.lonlat_to_healpix(lon, lat, order).astype(np.int64)
    return cells


def centres_of(cells: Any, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination (degrees) of the cells' centres."""
    lon, lat = nested.healpix_to_lonlat(np.asarray(cells, dtype=np.uint64), order)
    return np.asarray(lon.deg, dtype=float), np.asarray(lat.deg, dtype=float)


def order_for(radius: float) -> int:
    """The coarsest order whose cells fit into a circle of this radius (degrees)."""
    return next((each for each in range(FINEST) if _cell_radius(each) < radius), FINEST)


def cells_in(cone: Cone, order: int) -> set[int]:
    """The cells that the cone touches, perhaps with some that it nearly touches."""
    cells, _, _ = nested.cone_search(
        Longitude(cone.ra * u.deg),
        Latitude(cone.dec * u.deg),
        cone.radius * u.deg,
        order,
        flat=True,
    )
    return {int(cell) for cell in cells}


def _cell_radius(order: int) -> float:
    """Degrees from the centre of any cell to its farthest corner, at most."""
    # The longest diagonals are those at the border of the polar caps: twice the side of a square
    # of the same area, and a little more for cells of middle size.
    return float(1.05 * np.degrees(np.sqrt(np.pi / 3)) / 2**order)
