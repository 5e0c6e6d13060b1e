"""Where in a difference image is something new, and is it a point source?

Sources are found with the matched filter for a point source. Each is then explained in four ways:
as a point source; as the template's light, shifted and scaled a little (a dipole); as something
sharper than a star (a cosmic ray); as something wider (a bad match of skies or galaxies). It is
kept if a point source explains it best. Nothing is compared with the other detections, so that
what is rare (a transient on a galaxy) is not thrown away for being rare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import oaconvolve

from skyrelay.imaging.arrays import Mask, Plane

#: Part of a point source's profile that must lie on good pixels.
_LEAST_SEEN = 0.6
#: Half size, in FWHM, of the window in which explanations are compared.
_WINDOW = 1.5
#: Error of the profile of a point source, relative to its light.
_PROFILE_ERROR = 0.05
#: Largest shift (pixels) and change of brightness of the template that make a dipole.
_LARGEST_SHIFT, _LARGEST_CHANGE = 1.0, 0.1
#: Steps of the fit of a position.
_STEPS = 3
#: Widths of the other explanations: gaussian sigma of a cosmic ray (pixels), and the smoothing
#: that makes a point source into a blotch (FWHM).
_SHARP, _WIDE = 0.35, 0.7
#: A point source may be this much less likely (chi-square) than another explanation.
_TOLERANCE = 4.0
#: By how much (chi-square) a point source must be better than a dipole: at least, and as part of
#: its S/N squared.
_LEAST_GAIN, _LEAST_SHARE = 7.0, 0.15
#: Part of the S/N that must be left when the level around a source is not known to be zero.
_LOCAL = 0.7
#: Largest reduced chi-square of a point source: with the error of its profile, even the brightest
#: have little more than 1.
_WORST_FIT = 2.0
#: Each detection costs fits and a cut-out with many planes; more than this are no transients but
#: a bad match, and nobody looks through them.
MOST = 1000


@dataclass(frozen=True)
class Field:
    """A difference image and what is needed to judge what is in it.

    Planes of one shape: ``difference`` and ``noise`` in ADU, ``convolved`` the matched template,
    ``mask`` where the difference means nothing; ``profile`` is a point source of sum 1.
    """

    difference: Plane
    noise: Plane
    convolved: Plane
    mask: Mask
    profile: Plane
    fwhm: float


def detect(field: Field, sn: float, min_area: int) -> Table:
    """Point-like peaks of the difference with a matched-filter S/N of at least ``sn``.

    Returns a table with x, y (0-based pixels), sn, npix (connected pixels of the filtered image
    above half of ``sn``), ordered by S/N, brightest first.
    """
    filtered, seen = matched_filter(field)
    empty = ~field.mask & (seen > 0.9)
    if empty.any():
        # Neighbouring pixels are not quite independent, and the filter knows nothing of it.
        filtered = filtered / max(1.0, float(mad_std(filtered[empty])))
    reach = max(1, round(0.5 * field.fwhm))
    peaks = (filtered == ndimage.maximum_filter(filtered, 2 * reach + 1)) & (filtered >= sn)
    peaks &= (seen >= _LEAST_SEEN) & ~field.mask
    y, x = np.nonzero(peaks)
    regions, _ = ndimage.label(filtered > 0.5 * sn)
    areas = np.bincount(regions.ravel())
    found = Table(
        {
            "x": x.astype(float),
            "y": y.astype(float),
            "sn": filtered[y, x],
            "npix": areas[regions[y, x]],
        }
    )
    found = found[found["npix"] >= min_area]
    return found[np.argsort(-np.asarray(found["sn"]), kind="stable")]


def most_significant(found: Table) -> tuple[Table, int]:
    """At most `MOST` detections, those of the highest S/N, and how many are left out."""
    order = np.argsort(-np.asarray(found["sn"]), kind="stable")[:MOST]
    return found[order], len(found) - len(order)


def matched_filter(field: Field) -> tuple[Plane, Plane]:
    """S/N of a point source in every pixel, and the part of its profile on good pixels."""
    good = ~field.mask & np.isfinite(field.noise) & (field.noise > 0)
    weight = np.where(good, 1 / np.where(good, field.noise, 1) ** 2, 0)
    flipped = field.profile[::-1, ::-1]
    amount = oaconvolve(np.where(good, field.difference, 0) * weight, flipped, mode="same")
    precision = oaconvolve(weight, flipped**2, mode="same")
    seen = oaconvolve(good.astype(float), flipped, mode="same")
    tiny = np.max(precision, initial=0.0) * 1e-9 + np.finfo(float).tiny
    filtered = np.where(precision > tiny, amount / np.sqrt(np.maximum(precision, tiny)), 0)
    return filtered, seen


def measure(field: Field, found: Table) -> Table:
    """Fit every detection and compare its explanations.

    Adds to the table: x and y of the fit; psf_flux and psf_flux_err (ADU); sn_local, the S/N
    above the level around it; chi2 (reduced); and how much worse, in chi-square, a point source
    is than a dipole (d_dipole), something sharp (d_sharp), something wide (d_wide).
    """
    judge = _Judge(field)
    rows = [judge(float(row["x"]), float(row["y"])) for row in found]
    measured = found.copy()
    for name in _COLUMNS:
        measured[name] = np.array([row[name] for row in rows], dtype=float)
    return measured


_COLUMNS = (
    *("x", "y", "psf_flux", "psf_flux_err", "sn_local"),
    *("chi2", "d_dipole", "d_sharp", "d_wide"),
)


def stands_out(measured: Table, sn: float) -> NDArray[np.bool_]:
    """Which are brighter than the level around them, not only than zero."""
    out: NDArray[np.bool_] = np.asarray(measured["sn_local"]) >= _LOCAL * sn
    return out


def is_dipole(measured: Table) -> NDArray[np.bool_]:
    """Which are explained nearly as well by a small shift or change of the template.

    A point source must be better by a part of all that it explains, which is its S/N squared:
    even real light is explained in part where the template is bright.
    """
    needed = np.maximum(_LEAST_GAIN, _LEAST_SHARE * np.asarray(measured["sn"]) ** 2)
    return np.asarray(-np.asarray(measured["d_dipole"]) < needed)


def is_point_source(measured: Table) -> NDArray[np.bool_]:
    """Which have the shape of a point source."""
    point: NDArray[np.bool_] = (
        (np.asarray(measured["chi2"]) < _WORST_FIT)
        & (np.asarray(measured["d_sharp"]) < _TOLERANCE)
        & (np.asarray(measured["d_wide"]) < _TOLERANCE)
    )
    return point


def merge_duplicates(found: Table, radius: float) -> Table:
    """Keep the brightest of detections within ``radius`` pixels of each other."""
    order = np.argsort(-np.asarray(found["sn"]), kind="stable")
    kept: list[int] = []
    x, y = np.asarray(found["x"]), np.asarray(found["y"])
    for i in order:
        if all(np.hypot(x[i] - x[j], y[i] - y[j]) > radius for j in kept):
            kept.append(int(i))
    return found[kept]


class _Judge:
    """Compares the explanations of one detection after the other."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._half = int(np.ceil(_WINDOW * field.fwhm))
        self._gradient_y, self._gradient_x = (
            np.asarray(np.gradient(field.convolved, axis=axis)) for axis in (0, 1)
        )
        size = field.profile.shape[0]
        rows, columns = np.mgrid[:size, :size] - size // 2
        sharp = np.exp(-0.5 * (rows**2 + columns**2) / _SHARP**2)
        wide = ndimage.gaussian_filter(field.profile, _WIDE * field.fwhm)
        self._profiles = {
            "point": field.profile,
            "sharp": sharp / sharp.sum(),
            "wide": wide / wide.sum(),
        }

    def __call__(self, x: float, y: float) -> dict[str, float]:
        data, noise, good, window = self._cut(x, y)
        point = self._fit_profile("point", x, y, data, noise, good)
        # A profile that is not quite right must not make bright transients unlikely.
        noise = np.hypot(noise, _PROFILE_ERROR * np.abs(point["model"]))
        point = self._fit_profile("point", x, y, data, noise, good)
        dipole = self._fit_dipole(data, noise, good, window)
        sharp = self._fit_profile("sharp", x, y, data, noise, good)
        wide = self._fit_profile("wide", x, y, data, noise, good)
        local = self._above_level(point["x"], point["y"], data, noise, good)
        freedom = max(1, int(good.sum()) - 3)
        return {
            "x": point["x"],
            "y": point["y"],
            "psf_flux": point["flux"],
            "psf_flux_err": point["error"],
            "sn_local": local,
            "chi2": point["chi2"] / freedom,
            "d_dipole": point["chi2"] - dipole,
            "d_sharp": point["chi2"] - sharp["chi2"],
            "d_wide": point["chi2"] - wide["chi2"],
        }

    def _cut(self, x: float, y: float) -> tuple[Plane, Plane, Mask, tuple[slice, slice]]:
        field, half = self._field, self._half
        column, row = round(x), round(y)
        shape = field.difference.shape
        window = (
            slice(max(0, row - half), min(shape[0], row + half + 1)),
            slice(max(0, column - half), min(shape[1], column + half + 1)),
        )
        self._corner = (window[1].start, window[0].start)
        good = ~field.mask[window] & np.isfinite(field.noise[window])
        noise = np.where(good, field.noise[window], 1.0)
        return np.where(good, field.difference[window], 0.0), noise, good, window

    def _fit_profile(
        self, name: str, x: float, y: float, data: Plane, noise: Plane, good: Mask
    ) -> dict[str, float]:
        """Least squares for flux and position of a profile; a few steps from (x, y)."""
        start = (x, y)
        weight = np.where(good, 1 / noise, 0).ravel()
        flux = error = 0.0
        for _ in range(_STEPS):
            shape = self._place(name, x, y, data.shape)
            gradient_y, gradient_x = (np.gradient(shape, axis=axis) for axis in (0, 1))
            terms = np.stack([shape.ravel() * weight, -gradient_x.ravel() * weight,
                              -gradient_y.ravel() * weight], axis=1)  # fmt: skip
            solution, *_ = np.linalg.lstsq(terms, data.ravel() * weight, rcond=None)
            precision = float(np.sum(terms[:, 0] ** 2))
            flux, error = float(solution[0]), 1 / np.sqrt(max(precision, 1e-300))
            if flux <= error:
                break
            step = np.clip(solution[1:] / flux, -0.5, 0.5)
            x = float(np.clip(x + step[0], start[0] - 1.5, start[0] + 1.5))
            y = float(np.clip(y + step[1], start[1] - 1.5, start[1] + 1.5))
        shape = self._place(name, x, y, data.shape)
        weighted = shape.ravel() * weight
        precision = max(float(np.sum(weighted**2)), 1e-300)
        flux, error = float(weighted @ (data.ravel() * weight) / precision), precision**-0.5
        model = flux * shape
        chi2 = float(np.sum(((data - model).ravel() * weight) ** 2))
        return {"x": x, "y": y, "flux": flux, "error": error, "chi2": chi2, "model": model}

    def _above_level(self, x: float, y: float, data: Plane, noise: Plane, good: Mask) -> float:
        """S/N of a point source on a constant level that is fitted with it."""
        weight = np.where(good, 1 / noise, 0).ravel()
        shape = self._place("point", x, y, data.shape).ravel()
        terms = np.stack([shape * weight, weight], axis=1)
        normal = terms.T @ terms
        if np.linalg.cond(normal) > 1e12:
            return 0.0
        covariance = np.linalg.inv(normal)
        flux = (covariance @ (terms.T @ (data.ravel() * weight)))[0]
        return float(flux / np.sqrt(covariance[0, 0]))

    def _place(self, name: str, x: float, y: float, shape: tuple[int, ...]) -> Plane:
        """A profile at a position of the image, on the pixels of the window."""
        profile = self._profiles[name]
        middle = profile.shape[0] // 2
        rows = np.arange(shape[0]) + self._corner[1] - y + middle
        columns = np.arange(shape[1]) + self._corner[0] - x + middle
        grid = np.meshgrid(rows, columns, indexing="ij")
        return np.asarray(ndimage.map_coordinates(profile, grid, order=3, mode="constant"))

    def _fit_dipole(
        self, data: Plane, noise: Plane, good: Mask, window: tuple[slice, slice]
    ) -> float:
        """Chi-square of the template's light, shifted and scaled within bounds."""
        weight = np.where(good, 1 / noise, 0).ravel()
        terms = np.stack(
            [
                plane[window].ravel() * weight
                for plane in (self._field.convolved, self._gradient_x, self._gradient_y)
            ],
            axis=1,
        )
        target = data.ravel() * weight
        solution, *_ = np.linalg.lstsq(terms, target, rcond=None)
        limits = np.array([_LARGEST_CHANGE, _LARGEST_SHIFT, _LARGEST_SHIFT])
        solution = np.clip(solution, -limits, limits)
        return float(np.sum((target - terms @ solution) ** 2))
