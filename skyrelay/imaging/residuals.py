"""How much of a star's light stays in the difference because the match is not perfect?

A star that lies a little off, or whose brightness the kernel does not hit exactly, leaves a
residual in proportion to the convolved template and its gradient. Its usual size is measured on
the stars themselves and counted as noise, as is done for astrometric noise by Zackay, Ofek and
Gal-Yam (2016, ApJ 830, 27, section 3.3). Farther out it is the profiles and kernels that end
somewhere, or are not quite right: bright stars have rings, of which every piece looks like a faint
point source.
"""

from __future__ import annotations

import warnings

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from numpy.typing import NDArray
from scipy.optimize import brentq

from skyrelay.imaging.apertures import signal_to_noise
from skyrelay.imaging.arrays import Mask, Plane
from skyrelay.imaging.candidates import Field, matched_filter
from skyrelay.imaging.point_spread import moffat, unflagged

#: Stars must be this bright to say anything.
_LEAST_SN = 50.0
#: Fewer stars than this do not give a scatter.
_LEAST_STARS = 5
#: No match is better than this: part of the light, and pixels.
_LEAST_FLUX_ERROR, _LEAST_SHIFT = 0.005, 0.01
#: Nor is a match this bad believed: such stars are variable or move.
_LARGEST_FLUX_ERROR, _LARGEST_SHIFT = 0.1, 0.5

#: Light in a ring counts if it is so many times its error.
_SIGNIFICANT = 2.0
#: Rings, in FWHM: how wide, and how far out. Their light is measured on so many stars.
_RING, _RINGS, _RING_STARS = 0.5, 10, 30
#: The first ring of a single star that is judged by itself, and by how many times its error its
#: scatter must be too large.
_OWN_FROM, _OWN_SIGNIFICANT = 3, 3.0
#: Part of the pixels of a ring that a transient in it leaves alone; below which value that part of
#: the squares of a normal variable lies; and the error of a variance that is made of that value,
#: relative to it and times the root of the number of values.
_UPPER, _UPPER_OF_CHI2, _ERROR_OF_UPPER = 0.6, 0.7083, 2.08
#: Rings that outweigh all other noise in more than this part of the image are judged by its
#: scatter, and no smaller part of their variance than the other is believed.
_MOST_RINGS, _LEAST_PART = 0.5, 1e-4
#: Part of a point source that lies on good pixels where the scatter is taken.
_WHOLE = 0.9


def residual_variance(
    difference: Plane,
    convolved: Plane,
    noise: Plane,
    mask: Mask,
    objects: Table,
    fwhm: float,
    profile: Plane | None = None,
) -> Plane:
    """Variance that imperfect matching adds to the difference.

    Planes are those of one tile; ``objects`` have ``x``, ``y`` (pixels of the tile) and ``flux``;
    ``profile`` is a point source of the difference, if it is not that of the image.
    """
    variance = _of_shifts(difference, convolved, noise, mask, objects, fwhm)
    if profile is None:
        profile = moffat(fwhm, 2 * int(np.ceil(2.5 * fwhm)) + 1)
    shares = _ring_shares(difference, np.sqrt(noise**2 + variance), mask, _stars(objects), fwhm)
    # Pixels are wrong as their neighbours are: it counts as often as a point source has pixels.
    correlated = float(np.sum(profile**2))
    shares = shares / correlated
    rings = np.zeros_like(variance)
    known = noise**2 + variance
    filtered, _ = matched_filter(Field(difference, np.sqrt(known), convolved, mask, profile, fwhm))
    if not mask.all():
        # What scatters too much everywhere is not what is left of a star.
        filtered = filtered / max(1.0, float(mad_std(filtered[~mask])))
    for row in _stars(objects, clean=False):
        window, ring = _rings_around(row, mask.shape, fwhm)
        own = _own_rings(filtered[window], known[window], mask[window], ring, correlated)
        usual = float(row["flux"]) ** 2 * shares
        # Neighbours are in each other's rings, which is why nothing is added up.
        np.maximum(rings[window], np.maximum(own, usual)[ring], out=rings[window])
    return np.asarray(variance + _believable(rings, known, difference, convolved, mask, profile))


def _believable(
    rings: Plane, known: Plane, difference: Plane, convolved: Plane, mask: Mask, profile: Plane
) -> Plane:
    """The variance of rings, or the part of it that makes point sources scatter by their noise.

    In a crowded field every ring is full of other stars and of their rings, all of whose light is
    put down to the star in its middle. Where rings are most of the image, the image itself shows
    how much of them is true; elsewhere what they are made for is too rare to be judged by a
    scatter.
    """
    judged = ~mask & (rings > known)
    if judged.sum() <= _MOST_RINGS * (~mask).sum():
        return rings

    def excess(part: float) -> float:
        noise = np.sqrt(known + part * rings)
        filtered, seen = matched_filter(Field(difference, noise, convolved, mask, profile, 0.0))
        return float(mad_std(filtered[judged & (seen > _WHOLE)])) - 1

    if excess(1.0) >= 0:
        return rings
    if excess(_LEAST_PART) <= 0:
        return np.asarray(_LEAST_PART * rings)
    magnitude = brentq(lambda power: excess(10**power), np.log10(_LEAST_PART), 0.0, xtol=0.02)
    return np.asarray(10**magnitude * rings)


def _of_shifts(
    difference: Plane, convolved: Plane, noise: Plane, mask: Mask, objects: Table, fwhm: float
) -> Plane:
    """Variance in proportion to the template and its gradient."""
    gradient_y, gradient_x = (np.asarray(np.gradient(convolved, axis=axis)) for axis in (0, 1))
    fits = [
        fit
        for row in _stars(objects)
        if (fit := _fit(row, difference, convolved, gradient_x, gradient_y, noise, mask, fwhm))
        is not None
    ]
    floors = (_LEAST_FLUX_ERROR, _LEAST_SHIFT, _LEAST_SHIFT)
    ceilings = (_LARGEST_FLUX_ERROR, _LARGEST_SHIFT, _LARGEST_SHIFT)
    scatters = np.array(floors)
    if len(fits) >= _LEAST_STARS:
        values, errors = (np.array(each) for each in zip(*fits, strict=True))
        # About zero, not about the mean: a common shift is a residual as well.
        total = mad_std(np.concatenate([values, -values]), axis=0) ** 2
        scatters = np.clip(
            np.sqrt(np.clip(total - np.median(errors, axis=0) ** 2, 0, None)), floors, ceilings
        )
    return np.asarray(
        (scatters[0] * convolved) ** 2
        + (scatters[1] * gradient_x) ** 2
        + (scatters[2] * gradient_y) ** 2
    )


def _ring_shares(
    difference: Plane, noise: Plane, mask: Mask, stars: Table, fwhm: float
) -> NDArray[np.float64]:
    """Square of the part of a star's light that is left in a pixel, by ring; 0 beyond the last."""
    brightest = stars[np.argsort(-np.asarray(stars["flux"], dtype=float))][:_RING_STARS]
    shares = np.full((len(brightest), _RINGS + 1), np.nan)
    for row, share in zip(brightest, shares, strict=True):
        window, ring = _rings_around(row, mask.shape, fwhm)
        good = ~mask[window]
        left = (difference[window] ** 2 - noise[window] ** 2) / float(row["flux"]) ** 2
        count = np.bincount(ring[good], minlength=_RINGS + 1)
        total = np.bincount(ring[good], weights=left[good], minlength=_RINGS + 1)
        share[count > 0] = (total / np.maximum(count, 1))[count > 0]
    if len(brightest) < _LEAST_STARS:
        return np.zeros(_RINGS + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        usual = np.nanmedian(shares, axis=0)
        error = mad_std(shares, axis=0, ignore_nan=True) / np.sqrt(len(brightest))
    # What may as well be chance is none.
    usual = np.nan_to_num(np.where(usual > _SIGNIFICANT * error, usual, 0.0))
    usual[_RINGS] = 0.0
    return np.asarray(usual)


def _own_rings(
    filtered: Plane, variance: Plane, mask: Mask, ring: NDArray[np.intp], independent: float
) -> NDArray[np.float64]:
    """Variance by which point sources scatter too much in the rings of this very star.

    The brightest stars are worse than the usual star by more than their light. ``filtered`` is the
    S/N of point sources, which sees what pixels have in common, of which the part ``independent``
    is. Not its mean square counts, so that a transient in a ring is not taken for what is left of
    the star, and not the rings near its middle, which a transient fills.
    """
    excess = np.zeros(_RINGS + 1)
    for each in range(_OWN_FROM, _RINGS):
        inside = ~mask & (ring == each)
        count = float(inside.sum()) * independent
        if count < 1:
            continue
        above = float(np.quantile(filtered[inside] ** 2, _UPPER)) / _UPPER_OF_CHI2 - 1
        if above > _OWN_SIGNIFICANT * _ERROR_OF_UPPER / np.sqrt(count):
            excess[each] = above * float(np.median(variance[inside]))
    return excess


def _rings_around(
    row: Table.Row, shape: tuple[int, ...], fwhm: float
) -> tuple[tuple[slice, slice], NDArray[np.intp]]:
    """The window around a star, and in which ring each of its pixels lies."""
    reach = _RING * _RINGS * fwhm
    x, y = float(row["x"]), float(row["y"])
    window = (
        slice(max(0, int(y - reach)), min(shape[0], int(y + reach) + 2)),
        slice(max(0, int(x - reach)), min(shape[1], int(x + reach) + 2)),
    )
    rows, columns = np.ogrid[window]
    ring = (np.hypot(rows - y, columns - x) / (_RING * fwhm)).astype(int)
    return window, np.minimum(ring, _RINGS)


def _stars(objects: Table, *, clean: bool = True) -> Table:
    sn = signal_to_noise(objects)
    return objects[(sn > _LEAST_SN) & (unflagged(objects) | (not clean))]


def _fit(
    row: Table.Row,
    difference: Plane,
    convolved: Plane,
    gradient_x: Plane,
    gradient_y: Plane,
    noise: Plane,
    mask: Mask,
    fwhm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Flux error and shift of one star with their errors, from the residual at its place."""
    radius = int(np.ceil(fwhm))
    x, y = round(float(row["x"])), round(float(row["y"]))
    if x < radius or y < radius:
        return None
    window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
    good = ~mask[window]
    if good.shape != (2 * radius + 1,) * 2 or not good.all():
        return None
    weight = 1 / noise[window][good]
    terms = np.stack(
        [plane[window][good] * weight for plane in (convolved, gradient_x, gradient_y)], axis=1
    )
    try:
        covariance = np.linalg.inv(terms.T @ terms)
    except np.linalg.LinAlgError:
        return None
    values = covariance @ (terms.T @ (difference[window][good] * weight))
    return values, np.sqrt(np.diag(covariance))
