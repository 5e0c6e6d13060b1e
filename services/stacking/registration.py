"""How is an image brought to the pixels of another one, by its coordinates on the sky?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from reproject import reproject_adaptive
from stdpipe.reproject import reproject_swarp

from services.stacking.frame import Frame
from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Pixels
from skyrelay.imaging.star_patterns import LEAST_COVERED, strips


def by_coordinates(
    frame: Frame, wcs: WCS, shape: tuple[int, int]
) -> Iterator[tuple[slice, Pixels]]:
    """The frame on the pixels of ``wcs`` by adaptive resampling, some rows at a time."""
    for rows in strips(shape[0]):
        part = (rows.stop - rows.start, shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plane, covered = reproject_adaptive(
                (frame.data, frame.wcs), wcs[rows, :], part, conserve_flux=True
            )
        yield rows, np.where(covered < LEAST_COVERED, np.nan, plane)


def by_swarp(
    frame: Frame, wcs: WCS, shape: tuple[int, int], executable: str | None, temporary: Path
) -> Pixels:
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
    return np.where(~(lacking < 1 - LEAST_COVERED), np.nan, image)
