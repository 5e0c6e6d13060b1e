"""How bright is the sky where the stars are not counted as sky?

The middle of all pixels of a mesh, however it is taken, lies above the sky: wings of stars, and
stars too faint to be clipped, are on one side only. In a crowded field that is a fifth of the
noise, which makes faint stars fainter by several hundredths of a magnitude, and gives a difference
image a level that looks like faint light everywhere. So sources are found first, and left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep_x as sep
from astropy.stats import mad_std
from scipy.ndimage import binary_dilation, convolve, gaussian_filter
from scipy.signal import oaconvolve

from skyrelay.imaging.arrays import Mask, Plane

#: FWHM (pixels) of stars of which nothing is known.
_USUAL_FWHM = 3.0
#: Smoothing (gaussian sigma in FWHM) before sources are found: that of a star.
_SMOOTHING = 0.42
#: Sources stand out of the smoothed image by so many sigma; or, where that is most of the image,
#: by a multiple of it.
_THRESHOLD, _RAISED = 2.5, (1, 2, 4, 8, 16)
#: How far (in FWHM) a source reaches beyond the pixels that stand out.
_GROWTH = 1.0
#: Largest part of an image that is left out: a mesh that lacks half of its pixels has no sky.
_MOST_SOURCES = 0.4
#: In a crowded field a scatter that is so many times the noise of the pixels is that of starlight.
_CONFUSED = 2.0
#: Single pixels farther from the sky than this (sigma) are no sky.
_CLIP = 3.0
#: Fewer pixels of sky than this in an annulus do not give its level.
_LEAST_PIXELS = 30.0


def sky_of(image: Plane, mask: Mask, size: int, fwhm: float = _USUAL_FWHM) -> tuple[Plane, Plane]:
    """Sky and its noise (one sigma), pixel by pixel, on a mesh of ``size`` pixels.

    Parameters
    ----------
    fwhm : float
        FWHM of the stars in pixels.
    """
    first = _mesh(image, mask, size)
    found, crowded = sources(image - first.back(), mask, fwhm)
    background = _mesh(image, mask | found, size)
    noise = np.maximum(background.rms(), 0.1 * background.globalrms)
    if crowded:
        of_pixels = _noise_of_pixels(image, mask)
        noise = np.where(noise > _CONFUSED * of_pixels, of_pixels, noise)
    return background.back(), np.maximum(noise, np.finfo(float).tiny)


@dataclass(frozen=True)
class LocalSky:
    """The sky around every pixel: planes of its level, of the noise of one pixel, and of the
    error of the level."""

    level: Plane
    noise: Plane
    error: Plane


def local_sky(
    image: Plane, mask: Mask, size: int, fwhm: float, annulus: tuple[float, float]
) -> LocalSky:
    """For every pixel the sky in the annulus (radii in pixels) around it.

    Where sources fill the annulus it is the sky of the mesh.
    """
    sky, noise = sky_of(image, mask, size, fwhm)
    left = image - sky
    empty = ~(mask | sources(left, mask, fwhm)[0]) & (np.abs(left) < _CLIP * noise)
    kernel = _ring(*annulus)
    count = oaconvolve(empty.astype(float), kernel, mode="same")
    level = oaconvolve(np.where(empty, left, 0.0), kernel, mode="same")
    # Rounding of the convolution must not divide by next to nothing.
    seen = count >= _LEAST_PIXELS
    count = np.where(seen, count, _LEAST_PIXELS)
    return LocalSky(sky + np.where(seen, level / count, 0.0), noise, noise / np.sqrt(count))


def sources(image: Plane, mask: Mask, fwhm: float) -> tuple[Mask, bool]:
    """Pixels of an image without sky that show more than sky, and whether that is most of it.

    Where it is, only the brightest sources are in the mask.
    """
    if mask.all():
        return np.zeros_like(mask), False
    smooth = gaussian_filter(np.where(mask, 0.0, image), _SMOOTHING * fwhm)
    threshold = _THRESHOLD * float(mad_std(smooth[~mask]))
    for factor in _RAISED:
        bright = smooth > factor * threshold
        found: Mask = binary_dilation(bright, iterations=max(1, round(_GROWTH * fwhm)))
        if found[~mask].mean() <= _MOST_SOURCES:
            return found, factor > 1
    return np.zeros_like(mask), True


def _noise_of_pixels(image: Plane, mask: Mask) -> float:
    """Noise of a pixel by its difference from its neighbours, in which no star of some width shows.

    Source: Immerkaer 1996, Computer Vision and Image Understanding 64, 300.
    """
    filled = np.where(mask, 0.0, image)
    rough = convolve(filled, np.outer([1, -2, 1], [1, -2, 1])) / 6
    return float(mad_std(rough[~binary_dilation(mask, np.ones((3, 3)))]))


def _mesh(image: Plane, mask: Mask, size: int) -> sep.Background:
    return sep.Background(
        np.ascontiguousarray(np.where(mask, 0, image), dtype=np.float64),
        mask=mask,
        bw=min(size, image.shape[1]),
        bh=min(size, image.shape[0]),
    )


def _ring(inner: float, outer: float) -> Plane:
    half = int(np.ceil(outer))
    rows, columns = np.ogrid[-half : half + 1, -half : half + 1]
    radius = np.hypot(rows, columns)
    return np.asarray((radius >= inner) & (radius <= outer), dtype=np.float64)
