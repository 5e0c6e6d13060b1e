"""What is the proper difference of two images, each with a point spread of its own?

Zackay, Ofek and Gal-Yam (2016, ApJ 830, 27): each image is convolved with the profile of the other,
so that no kernel has to be fitted, and the result is divided by what makes its noise independent
from pixel to pixel. stdpipe's `run_zogy` has the same equations, but gives neither the noise of the
difference nor the template's part of it, without which it can be neither weighted nor searched for
dipoles. Scale and shift come from the surroundings of stars by linear least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import (
    binary_dilation,
    binary_opening,
    distance_transform_edt,
    fourier_shift,
    gaussian_filter,
)

from skyrelay.imaging.arrays import Mask, Plane
from skyrelay.imaging.kernel import UNEXPLAINED, NoKernel, choose_objects, explained, surroundings

Transform = NDArray[np.complex128]

#: Fits of scale and shift, each without the objects that the one before did not explain.
_ROUNDS = 4
#: No shift is larger (pixels): images that lie worse on each other are not aligned.
_LARGEST_SHIFT = 2.0
#: Part of the light under the mask whose traces around it count as noise: neither image shows it.
_TRACES = 0.3
#: So near (FWHM) to missing pixels that can hide a star, as the core of a saturated one is hidden,
#: its wings are no part of any profile that was measured, and the difference means nothing.
_HOLE_REACH = 2.0
#: Missing pixels, if they are fewer than a star is wide, are filled by a mean of this width
#: (gaussian sigma in FWHM), which does not blur a star much, of at least this part of good pixels.
_FILLING, _LEAST_WEIGHT = 0.25, 0.05
#: Part of a point source that is taken as infinitely sharp. At frequencies where the measured
#: profiles hold only their own noise, dividing by them would smear light over the whole image.
_SHARP = 0.005


@dataclass(frozen=True)
class ProperDifference:
    """The difference in the flux units of the image.

    Attributes
    ----------
    difference, convolved : ndarray
        What is new, and the template's part that was taken away.
    variance : ndarray
        Variance of the difference by the noise of both images.
    unreliable : ndarray of bool
        Near holes in the images, such as the cores of saturated stars.
    profile : ndarray
        A point source in the difference, of sum 1.
    flux_scale : float
        Flux units of the image in one of the template.
    objects : int
        Number of objects that scale and shift were fitted to.
    """

    difference: Plane
    convolved: Plane
    variance: Plane
    unreliable: Mask
    profile: Plane
    flux_scale: float
    objects: int


def proper_difference(
    images: tuple[Plane, Plane],
    variances: tuple[Plane, Plane],
    profiles: tuple[Plane, Plane],
    bad: Mask,
    objects: Table,
    fwhm: float,
) -> ProperDifference:
    """Subtract the second of two images (the template) from the first.

    Parameters
    ----------
    images, variances : pair of ndarray
        Pixels without sky, and their variances.
    profiles : pair of ndarray
        Point sources of sum 1, each in an odd square.
    bad : ndarray of bool
        Pixels that one of the images does not show.
    objects : Table
        Objects with ``x`` and ``y``.
    fwhm : float
        FWHM of the first image in pixels.

    Raises
    ------
    NoKernel
        If the two images have no star in common.
    """
    grid = _Grid(bad.shape, max(profile.shape[0] for profile in profiles))
    holes = _holes(bad, fwhm)
    filled = [_filled(each, bad, bad & ~holes, fwhm) for each in images]
    image, template = (grid.transform(each) for each in filled)
    p_image, p_template = (grid.transform_profile(each) for each in profiles)
    noise = np.sqrt(variances[0])
    scale, shift, count = _match(
        grid, image * p_template, template * p_image, images[0], noise, bad, objects, fwhm
    )
    template = scale * fourier_shift(template, shift, n=grid.shape[1])
    sky, template_sky = (
        float(np.median(variance[~bad])) * factor
        for variance, factor in zip(variances, (1.0, scale**2), strict=True)
    )
    whitening = np.sqrt(
        (sky + template_sky)
        / (sky * np.abs(p_template) ** 2 + template_sky * np.abs(p_image) ** 2 + _tiny(sky))
    )
    of_image, of_template = p_template * whitening, p_image * whitening
    convolved = grid.plane(template * of_template)
    variance = grid.spread(variances[0], of_image)
    variance += scale**2 * grid.spread(variances[1], of_template)
    shown = np.maximum(np.nan_to_num(images[0]), filled[0])
    hidden = np.where(bad, np.clip(shown, 0, None), 0.0)
    variance += (_TRACES * grid.plane(grid.transform(hidden) * of_image)) ** 2
    return ProperDifference(
        difference=grid.plane(image * of_image) - convolved,
        convolved=convolved,
        variance=np.maximum(variance, _tiny(sky)),
        unreliable=distance_transform_edt(~holes) < _HOLE_REACH * fwhm
        if holes.any()
        else np.zeros_like(bad),
        profile=grid.profile(p_image * of_image),
        flux_scale=scale,
        objects=count,
    )


def _holes(bad: Mask, fwhm: float) -> Mask:
    """Missing pixels, so many together that they hide a star, and not a part of it."""
    side = max(2, round(fwhm))
    wide = binary_opening(bad, np.ones((side, side)))
    return np.asarray(bad & binary_dilation(wide, iterations=side))


def _filled(image: Plane, bad: Mask, narrow: Mask, fwhm: float) -> Plane:
    """An image whose missing pixels are zero, or where they are few as bright as the others.

    A dead column through a galaxy would otherwise be cut out of two images of different sharpness,
    which leaves a difference on both sides of it.
    """
    light = gaussian_filter(np.where(bad, 0.0, image), _FILLING * fwhm)
    weight = gaussian_filter((~bad).astype(float), _FILLING * fwhm)
    few = narrow & (weight > _LEAST_WEIGHT)
    around = np.where(few, light / np.where(few, weight, 1.0), 0.0)
    return np.asarray(np.where(bad, around, image))


class _Grid:
    """Planes and their Fourier transforms, padded so that no light comes in from the other side."""

    def __init__(self, shape: tuple[int, ...], reach: int) -> None:
        self._rows, self._columns = shape
        self._reach = reach
        self.shape = tuple(fft.next_fast_len(length + 2 * reach, real=True) for length in shape)

    def transform(self, plane: Plane) -> Transform:
        return np.asarray(fft.rfft2(plane, self.shape))

    def transform_profile(self, profile: Plane) -> Transform:
        padded = np.zeros(self.shape)
        rows, columns = profile.shape
        padded[:rows, :columns] = profile
        centred = np.roll(padded, (-(rows // 2), -(columns // 2)), axis=(0, 1))
        return np.asarray((1 - _SHARP) * fft.rfft2(centred) + _SHARP)

    def plane(self, transform: Transform) -> Plane:
        whole = fft.irfft2(transform, self.shape)
        return np.asarray(whole[: self._rows, : self._columns])

    def spread(self, variance: Plane, transfer: Transform) -> Plane:
        """Variance of a plane after a convolution; beyond the edges it is as at them."""
        squared = fft.rfft2(fft.irfft2(transfer, self.shape) ** 2)
        reach = self._reach
        padding = [
            (reach, whole - length - reach)
            for whole, length in zip(self.shape, variance.shape, strict=True)
        ]
        padded = fft.irfft2(fft.rfft2(np.pad(variance, padding, mode="edge")) * squared, self.shape)
        return np.array(padded[reach : reach + self._rows, reach : reach + self._columns])

    def profile(self, transform: Transform) -> Plane:
        """The middle of a profile, of sum 1."""
        centred = fft.fftshift(fft.irfft2(transform, self.shape))
        middle, half = (self.shape[0] // 2, self.shape[1] // 2), self._reach // 2
        stamp = centred[tuple(slice(each - half, each + half + 1) for each in middle)]
        return np.asarray(stamp / stamp.sum())


def _match(
    grid: _Grid,
    image: Transform,
    template: Transform,
    pixels: Plane,
    noise: Plane,
    bad: Mask,
    objects: Table,
    fwhm: float,
) -> tuple[float, NDArray[np.float64], int]:
    """Scale and shift (rows, columns) that bring the template onto the image, and from how many.

    Both transforms are those of images with one and the same profile.
    """
    seen = grid.plane(image)
    weights_noise = np.hypot(noise, UNEXPLAINED * np.abs(pixels))
    chosen = choose_objects(objects, bad, fwhm)
    scale, shift = 0.0, np.zeros(2)
    for _ in range(_ROUNDS):
        near = surroundings(chosen, bad, fwhm)
        if not near.any():
            raise NoKernel("no star is bright enough to match the images")
        there = grid.plane(fourier_shift(template, shift, n=grid.shape[1]))
        terms = np.stack([there, *np.gradient(there), np.ones_like(there)], axis=-1)[near]
        weight = 1 / weights_noise[near]
        solution, *_ = np.linalg.lstsq(terms * weight[:, None], seen[near] * weight, rcond=None)
        scale = float(solution[0])
        if not scale > 0:
            raise NoKernel(f"the scale of the template is {scale:.3g}: the images do not match")
        shift = np.clip(shift - solution[1:3] / scale, -_LARGEST_SHIFT, _LARGEST_SHIFT)
        left = np.zeros_like(seen)
        left[near] = seen[near] - terms @ solution
        chosen = chosen[explained(chosen, left, weights_noise, bad, fwhm)]
    return scale, shift, len(chosen)


def _tiny(variance: float) -> float:
    return 1e-12 * variance
