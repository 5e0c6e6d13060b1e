"""Which objects of an image are brighter than the catalogue says the light at their place is?

The catalogue's stars are spread with the image's point source: every object has a light that is
expected in its aperture, from its own counterpart, from neighbours that blend with it, and from
the wings of bright stars. What has much more than that is new or has flared up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skyrelay.sky.columns import floats

Values = NDArray[np.float64]
Selection = NDArray[np.bool_]

#: Stars farther than this, in FWHM, give no light.
_REACH = 6.0
#: No two positions agree better than this, in pixels.
_LEAST_ERROR = 0.1
#: How wrong the expected light may be, relative to itself, apart from the catalogue's errors:
#: profiles, and colours that are not known.
_UNCERTAIN = 0.08


@dataclass(frozen=True)
class Expectation:
    """What the catalogue expects at every object.

    Attributes
    ----------
    distance : ndarray
        Pixels to the nearest star of the catalogue; infinite if there is none.
    displacement : ndarray
        The same in units of the error of both positions.
    nearest_magnitude : ndarray
        Magnitude of the brightest star within the match radius; NaN if there is none.
    excess_sn : ndarray
        How far the object's light exceeds the expected, in units of the error of both.
    """

    distance: Values
    displacement: Values
    nearest_magnitude: Values
    excess_sn: Values


def expect(
    objects: Table, stars: Table, *, fwhm: float, profile: Values, aperture: float, radius: float
) -> Expectation:
    """Compare objects with the light of catalogue stars.

    Parameters
    ----------
    objects : Table
        ``x``, ``y``, ``xerr``, ``yerr``, ``mag_calib``, ``mag_calib_err``.
    stars : Table
        ``x``, ``y``, their error ``xyerr`` (pixels), ``mag`` in the passband of the image (NaN
        where unknown) and its error ``magerr``.
    fwhm, aperture, radius : float
        FWHM, radius of the objects' aperture and of a match, in pixels.
    profile : ndarray
        A point source of sum 1.
    """
    positions = _positions(objects)
    count = len(objects)
    if not len(stars) or not count:
        infinite = np.full(count, np.inf)
        return Expectation(infinite, infinite, np.full(count, np.nan), infinite)
    tree = cKDTree(_positions(stars))
    distance, counterpart = tree.query(positions)
    own_place = 0.5 * (floats(objects["xerr"]) ** 2 + floats(objects["yerr"]) ** 2)
    place_error = np.sqrt(own_place + floats(stars["xyerr"])[counterpart] ** 2)
    magnitude = floats(stars["mag"])
    share = _aperture_share(profile, aperture, _REACH * fwhm)
    light = 10 ** (-0.4 * np.nan_to_num(magnitude, nan=np.inf))
    own = 10 ** (-0.4 * floats(objects["mag_calib"]))
    own_error = own * floats(objects["mag_calib_err"]) * np.log(10) / 2.5
    light_error = light * floats(stars["magerr"]) * np.log(10) / 2.5
    expected, spread, nearest = np.zeros(count), np.zeros(count), np.full(count, np.nan)
    for i, near in enumerate(tree.query_ball_point(positions, _REACH * fwhm)):
        if not near:
            continue
        away = np.hypot(*(tree.data[near] - positions[i]).T)
        caught = np.interp(away, *share, right=0.0)
        expected[i] = np.sum(light[near] * caught)
        spread[i] = np.sqrt(np.sum((light_error[near] * caught) ** 2))
        matched = magnitude[np.array(near)[away < radius]]
        if np.isfinite(matched).any():
            nearest[i] = np.nanmin(matched)
    error = np.sqrt(own_error**2 + spread**2 + (_UNCERTAIN * expected) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.nan_to_num((own - expected) / error, nan=np.inf)
    return Expectation(distance, distance / np.hypot(place_error, _LEAST_ERROR), nearest, excess)


def _aperture_share(profile: Values, aperture: float, reach: float) -> tuple[Values, Values]:
    """Distances, and the part of a star's light (relative to an aperture on the star itself)
    that an aperture at that distance catches."""
    size = profile.shape[0]
    rows, columns = np.mgrid[:size, :size] - size // 2
    away = np.arange(0.0, reach + 1, 0.5)
    caught = np.array(
        [profile[(columns - each) ** 2 + rows**2 <= aperture**2].sum() for each in away]
    )
    return away, caught / caught[0]


def _positions(table: Table) -> Values:
    return np.stack([floats(table["x"]), floats(table["y"])], axis=1)
