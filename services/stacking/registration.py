"""How is an image brought to the pixels of another one?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import astroalign
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from reproject import reproject_adaptive
from scipy.ndimage import affine_transform
from stdpipe.reproject import reproject_swarp

from services.stacking.frame import Frame
from skyrelay.errors import Permanent
from skyrelay.imaging.stack_frames import Matrix

Plane = NDArray[Any]

#: Rows that are resampled at once: the coordinates of each pixel take ten times its own memory.
_ROWS = 512
#: A pixel of which less than this is covered is not covered.
_LEAST_COVERED = 0.5


def by_coordinates(frame: Frame, wcs: WCS, shape: tuple[int, int]) -> Iterator[tuple[slice, Plane]]:
    """The frame on the pixels of ``wcs`` by adaptive resampling, some rows at a time."""
    for rows in _strips(shape[0]):
        part = (rows.stop - rows.start, shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plane, covered = reproject_adaptive(
                (frame.data, frame.wcs), wcs[rows, :], part, conserve_flux=True
            )
        yield rows, np.where(covered < _LEAST_COVERED, np.nan, plane)


def by_swarp(
    frame: Frame, wcs: WCS, shape: tuple[int, int], executable: str | None, temporary: Path
) -> Plane:
    """The frame on the pixels of ``wcs`` by SWarp.

    Raises
    ------
    Permanent
        If SWarp is not there, or fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filled = np.nan_to_num(frame.data)
        undefined = (~np.isfinite(frame.data)).astype(np.float32)
        planes = [
            reproject_swarp(
                [(plane, frame.wcs)],
                wcs=wcs,
                shape=shape,
                extra={"COPY_KEYWORDS": "NONE", **options},
                _exe=executable,
                _tmpdir=str(temporary),
            )
            for plane, options in (
                (filled, {}),
                (undefined, {"RESAMPLING_TYPE": "BILINEAR", "FSCALASTRO_TYPE": "NONE"}),
            )
        ]
    image, lacking = planes
    if image is None or lacking is None:
        raise Permanent("SWarp is not installed or has failed: use stack_reprojection=adaptive.")
    return np.where(~(lacking < 1 - _LEAST_COVERED), np.nan, image)


def match_stars(frame: Frame, reference: Plane) -> Matrix:
    """From pixels of the reference to pixels of the frame, by the patterns of the stars in both.

    Raises
    ------
    Permanent
        If they have no pattern in common.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transform, _ = astroalign.find_transform(_masked(frame.data), _masked(reference))
    except (astroalign.MaxIterError, ValueError, TypeError, IndexError):
        raise Permanent(
            f"The stars of {frame.name} do not match those of the first image."
        ) from None
    return np.asarray(np.linalg.inv(transform.params)[:2])


def by_stars(frame: Frame, matrix: Matrix, shape: tuple[int, int]) -> Iterator[tuple[slice, Plane]]:
    """The frame on the pixels from which ``matrix`` leads to it, some rows at a time."""
    undefined = ~np.isfinite(frame.data)
    filled = np.where(undefined, np.nanmedian(frame.data), frame.data).astype(np.float64)
    turned = matrix[::-1, 1::-1]
    area = abs(np.linalg.det(turned))
    for rows in _strips(shape[0]):
        options = {
            "matrix": turned,
            "offset": matrix[::-1, 2] + turned @ [rows.start, 0],
            "output_shape": (rows.stop - rows.start, shape[1]),
        }
        plane = affine_transform(filled, **options, order=3, cval=np.nan, mode="constant")
        lacking = affine_transform(
            undefined.astype(np.float32), **options, order=1, cval=1.0, mode="constant"
        )
        yield rows, np.where(lacking > 1 - _LEAST_COVERED, np.nan, plane * area)


def _strips(height: int) -> Iterator[slice]:
    # A last strip of a row or two has no neighbours to tell how pixels are stretched.
    count = max(1, round(height / _ROWS))
    edges = np.linspace(0, height, count + 1).astype(int)
    for start, stop in pairwise(edges):
        yield slice(int(start), int(stop))


def _masked(data: Plane) -> Any:
    undefined = ~np.isfinite(data)
    filled = np.where(undefined, np.nanmedian(data), data).astype(np.float64)
    return np.ma.array(filled, mask=undefined)
