"""Which kernel turns the template into the image, and from which stars is it known?

The kernel is found by stdpipe's SFFT (Hu et al. 2022, ApJ 936, 157). What matters is what it is
fitted to. Noise of the template's empty sky acts like a penalty on every kernel coefficient, and
clipping single pixels eats the cores of the brightest stars: both make the kernel's sum too small.
So the fit sees only surroundings of well exposed objects, and drops whole objects, not pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.signal import oaconvolve
from stdpipe import sfft

from skyrelay.imaging.apertures import disc, signal_to_noise
from skyrelay.imaging.arrays import Mask, Plane
from skyrelay.imaging.flags import BAD_SHAPE, BLENDED, NEIGHBOURS

#: Radius, in FWHM, of what is fitted around an object.
_REGION = 2.5
#: Objects fainter than this say nothing about the kernel.
_LEAST_SN = 20.0
#: Bits of the objects' flags that do not matter: neighbour, blend, shape of a galaxy.
_HARMLESS = NEIGHBOURS | BLENDED | BAD_SHAPE
#: Objects per tile: the brightest are enough.
_MAX_OBJECTS = 80
#: Part of a star's light that no kernel explains (pixelation, colour, shape over the field).
UNEXPLAINED = 0.02
#: Fits, each without the objects that the one before did not explain.
_ROUNDS = 3
#: An object is dropped when its reduced chi-square is this many times the usual.
_OUTLIER = 3.0
#: Fewer pixels per kernel coefficient than this do not determine it.
_PIXELS_PER_TERM = 2
#: Widths (gaussian sigma in FWHM) of the light that the kernel, being small, cannot carry far
#: enough: wings of a star seen through more turbulent air reach beyond any kernel.
_WINGS = (0.7, 1.4, 2.8)
#: Error of the wings of saturated stars, relative to what is known of them: cores are cut off.
_HALO_ERROR = 2.0
#: Cells per axis over which the variance of a kernel that varies is taken as constant.
_VARIANCE_CELLS = 4


@dataclass(frozen=True)
class Orders:
    """Orders of the polynomials over a tile."""

    kernel: int = 0
    background: int = 0
    flux: int = 0


@dataclass(frozen=True)
class Match:
    """The template, made to look like the image.

    Attributes
    ----------
    convolved : ndarray
        Template convolved with the kernel, without the difference of the skies.
    background : ndarray
        That difference.
    variance : ndarray
        Variance that the template brings into the difference.
    unreliable : ndarray of bool
        Where the kernel reaches over missing pixels of the template.
    flux_scale : float
        Sum of the kernel in the middle of the tile.
    objects : int
        Number of objects that the kernel was fitted to.
    """

    convolved: Plane
    background: Plane
    variance: Plane
    unreliable: Mask
    flux_scale: float
    objects: int


class NoKernel(Exception):
    """The tile has too little light in both images to determine a kernel."""


def kernel_half_size(fwhm: float) -> int:
    """Half size of the kernel in pixels for an image of this FWHM."""
    return int(np.clip(np.ceil(1.25 * fwhm), 3, 12))


def match_template(
    image: Plane,
    template: Plane,
    mask: Mask,
    template_mask: Mask,
    noise: Plane,
    template_variance: Plane,
    objects: Table,
    fwhm: float,
    orders: Orders,
    log: Callable[..., object],
) -> Match:
    """Fit the kernel and convolve the template with it.

    Parameters
    ----------
    image, template : ndarray
        Planes of one tile, skies subtracted, finite everywhere.
    mask, template_mask : ndarray of bool
        Pixels not to be used.
    noise : ndarray
        Noise of the image (one sigma per pixel).
    template_variance : ndarray
        Variance of the template's pixels.
    objects : Table
        Measured objects with ``x`` and ``y`` in pixels of the tile.
    fwhm : float
        FWHM of the image in pixels.

    Raises
    ------
    NoKernel
        If no kernel can be determined.
    """
    half = kernel_half_size(fwhm)
    shape = (2 * half + 1, 2 * half + 1)
    bad = mask | template_mask
    weights_noise = np.hypot(noise, UNEXPLAINED * np.abs(image))
    chosen = choose_objects(objects, bad, fwhm)
    terms = shape[0] * shape[1] * (orders.kernel + 1) * (orders.kernel + 2) // 2
    result = None
    for _ in range(_ROUNDS):
        fitted = surroundings(chosen, bad, fwhm)
        if fitted.sum() < _PIXELS_PER_TERM * terms:
            if result is not None:
                break
            log(f"Only {len(chosen)} objects for the kernel: fitting to all of the tile")
            fitted, chosen = ~bad, chosen[:0]
        try:
            result = sfft.solve(
                image,
                template,
                mask=~fitted,
                template_mask=template_mask,
                err=weights_noise,
                kernel_shape=shape,
                kernel_poly_order=orders.kernel,
                bg_poly_order=orders.background,
                flux_poly_order=min(orders.flux, orders.kernel),
                sigma_clip=None,
                max_iter=1,
            )
        except (RuntimeError, np.linalg.LinAlgError) as error:
            raise NoKernel(f"too few good pixels for the kernel ({error})") from error
        kept = explained(chosen, result.diff, weights_noise, bad | result.dmask, fwhm)
        if kept.all():
            break
        chosen = chosen[kept]
    match = _match(result, template_variance, len(chosen))
    missing = template_mask | match.unreliable
    return _with_wings(match, image, weights_noise, bad | missing, missing, fwhm)


def choose_objects(objects: Table, bad: Mask, fwhm: float) -> Table:
    """The brightest unflagged objects whose surroundings are whole."""
    sn = signal_to_noise(objects)
    # Neighbours and blends do no harm here: both images show them.
    # The same holds for galaxies, whose shape is flagged.
    usable = ((np.asarray(objects["flags"]).astype(int) & ~_HARMLESS) == 0) & (sn > _LEAST_SN)
    rows, columns = bad.shape
    x, y = (np.asarray(objects[name], dtype=float).round().astype(int) for name in "xy")
    core = max(1, round(0.5 * fwhm))
    for i in np.flatnonzero(usable):
        inside = core <= x[i] < columns - core and core <= y[i] < rows - core
        usable[i] = (
            inside and not bad[y[i] - core : y[i] + core + 1, x[i] - core : x[i] + core + 1].any()
        )
    order = np.argsort(-sn[usable])[:_MAX_OBJECTS]
    return objects[usable][order]


def surroundings(objects: Table, bad: Mask, fwhm: float) -> Mask:
    """Good pixels near any of the objects."""
    near = np.zeros(bad.shape, dtype=bool)
    for row in objects:
        window, inside = disc(row, bad.shape, _REGION * fwhm)
        near[window] |= inside
    return near & ~bad


def explained(
    objects: Table, difference: Plane, noise: Plane, bad: Mask, fwhm: float
) -> NDArray[np.bool_]:
    """Which objects vanish in the difference as well as most of them do."""
    chi2 = np.full(len(objects), np.nan)
    for i, row in enumerate(objects):
        window, inside = disc(row, bad.shape, fwhm)
        inside &= ~bad[window]
        if inside.any():
            chi2[i] = np.mean((difference[window][inside] / noise[window][inside]) ** 2)
    if np.isfinite(chi2).sum() < 4:
        return np.ones(len(objects), dtype=bool)
    usual = float(np.nanmedian(chi2))
    limit = max(_OUTLIER * usual, usual + 5 * float(mad_std(chi2, ignore_nan=True)), 2.0)
    kept: NDArray[np.bool_] = chi2 <= limit
    return kept


def _match(result: sfft.SFFTResult, template_variance: Plane, objects: int) -> Match:
    rows, columns = np.indices(result.diff.shape)
    background = np.broadcast_to(
        sfft.evaluate_background(result, columns, rows, result.diff.shape), result.diff.shape
    )
    middle = (result.diff.shape[1] / 2, result.diff.shape[0] / 2)
    return Match(
        convolved=result.model - background,
        background=np.array(background),
        variance=_variance_through_kernel(result, template_variance),
        unreliable=result.dmask,
        flux_scale=float(sfft.evaluate_flux_scale(result, *middle, result.diff.shape)),
        objects=objects,
    )


def _with_wings(
    match: Match, image: Plane, noise: Plane, bad: Mask, missing: Mask, fwhm: float
) -> Match:
    """Add to the match what is left of the wings of bright stars, and of the sky's level.

    Where light of the template is ``missing`` (saturated stars), that of the image stands for it
    in the wings, and what it adds there is counted as uncertain.
    """
    good = ~binary_dilation(bad, iterations=int(np.ceil(3 * fwhm)))
    if good.sum() < 1000:
        good = ~bad
    weight = np.where(good, 1 / noise, 0).ravel()
    wings = [gaussian_filter(match.convolved, width * fwhm) for width in _WINGS]
    terms = np.stack([plane.ravel() * weight for plane in (*wings, np.ones_like(image))], axis=1)
    left = image - match.convolved - match.background
    solution, *_ = np.linalg.lstsq(terms, left.ravel() * weight, rcond=None)
    absent = np.where(missing, np.clip(image - match.convolved, 0, None), 0)
    halo = np.zeros_like(image)
    convolved = match.convolved.copy()
    for part, width, plane in zip(solution[:-1], _WINGS, wings, strict=True):
        convolved += part * plane
        halo += part * gaussian_filter(absent, width * fwhm)
    return replace(
        match,
        convolved=convolved + halo,
        background=match.background + solution[-1],
        variance=match.variance + (_HALO_ERROR * halo) ** 2,
    )


def _variance_through_kernel(result: sfft.SFFTResult, variance: Plane) -> Plane:
    """Variance of the convolved template: that of its pixels, convolved with the squared kernel."""
    cells = 1 if result.kernel_poly_order == 0 else _VARIANCE_CELLS
    out = np.empty_like(variance)
    half = result.kernel_shape[0] // 2
    row_edges, column_edges = (
        np.linspace(0, length, cells + 1).round().astype(int) for length in variance.shape
    )
    for r0, r1 in pairwise(row_edges):
        for c0, c1 in pairwise(column_edges):
            kernel = sfft.evaluate_kernel_at(result, (c0 + c1) / 2, (r0 + r1) / 2, variance.shape)
            top, left = max(0, r0 - half), max(0, c0 - half)
            part = oaconvolve(variance[top : r1 + half, left : c1 + half], kernel**2, mode="same")
            out[r0:r1, c0:c1] = part[r0 - top : r1 - top, c0 - left : c1 - left]
    return np.clip(out, 0, None)
