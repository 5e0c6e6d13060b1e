"""How does an image lie on another one, if only their stars can tell?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import astroalign
import numpy as np
from scipy.ndimage import affine_transform

from skyrelay.imaging.arrays import Mask, Pixels
from skyrelay.imaging.stack_frames import Matrix

#: Rows that are resampled at once: the coordinates of each pixel take ten times its own memory.
_ROWS = 512
#: A pixel of which less than this is covered is not covered.
LEAST_COVERED = 0.5


def match_stars(image: Pixels, reference: Pixels) -> Matrix | None:
    """From pixels of the reference to pixels of the image, by the patterns of the stars in both.

    Returns
    -------
    ndarray or None
        None if they have no pattern in common.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transform, _ = astroalign.find_transform(_masked(image), _masked(reference))
    except (astroalign.MaxIterError, ValueError, TypeError, IndexError):
        return None
    return np.asarray(np.linalg.inv(transform.params)[:2])


def by_stars(
    image: Pixels, matrix: Matrix, shape: tuple[int, int], bad: Mask | None = None
) -> Iterator[tuple[slice, Pixels]]:
    """The image on the pixels from which ``matrix`` leads to it, some rows at a time.

    NaN where it does not reach, or shows mostly pixels that are undefined or ``bad``.
    """
    undefined = ~np.isfinite(image)
    filled = np.where(undefined, np.nanmedian(image), image).astype(np.float64)
    unusable = undefined if bad is None else undefined | bad
    turned = matrix[::-1, 1::-1]
    area = abs(np.linalg.det(turned))
    for rows in strips(shape[0]):
        options = {
            "matrix": turned,
            "offset": matrix[::-1, 2] + turned @ [rows.start, 0],
            "output_shape": (rows.stop - rows.start, shape[1]),
        }
        plane = affine_transform(filled, **options, order=3, cval=np.nan, mode="constant")
        lacking = affine_transform(
            unusable.astype(np.float32), **options, order=1, cval=1.0, mode="constant"
        )
        yield rows, np.where(lacking > 1 - LEAST_COVERED, np.nan, plane * area)


def strips(height: int) -> Iterator[slice]:
    """The rows of an image, some at a time."""
    # A last strip of a row or two has no neighbours to tell how pixels are stretched.
    count = max(1, round(height / _ROWS))
    edges = np.linspace(0, height, count + 1).astype(int)
    for start, stop in pairwise(edges):
        yield slice(int(start), int(stop))


def _masked(image: Pixels) -> Any:
    undefined = ~np.isfinite(image)
    filled = np.where(undefined, np.nanmedian(image), image).astype(np.float64)
    return np.ma.array(filled, mask=undefined)
