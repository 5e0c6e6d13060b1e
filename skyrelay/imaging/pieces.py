"""How do pieces of sky, each on pixels of its own, become one picture on the pixels of an image?"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from stdpipe.reproject import reproject_lanczos

from skyrelay.imaging.arrays import Mask, Plane

#: Pixels of the image between two places that are looked up in a piece.
_STEP = 16
#: So many pixels around its own may still be told by a piece.
_MARGIN = 4.0


@dataclass(frozen=True)
class Piece:
    """Pixels of the sky.

    Attributes
    ----------
    image : ndarray
        Fluxes; NaN where there are none.
    bad : ndarray of bool
        True where they are not to be used.
    wcs : WCS
        Where they lie.
    """

    image: Plane
    bad: Mask
    wcs: WCS


def put_together(
    pieces: Iterable[Piece], wcs: WCS, header: fits.Header, shape: tuple[int, int]
) -> tuple[Plane, Mask]:
    """The mean of what the pieces show of each pixel of an image; masked where none shows it.

    Each piece is interpolated only where it lies, one after the other, so that neither time nor
    memory grow with their number.

    Parameters
    ----------
    wcs, header, shape
        The image: its coordinates, a header with them, its rows and columns.
    """
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.uint16)
    for piece in pieces:
        box = _box(piece, wcs, shape)
        if box is None:
            continue
        plane, usable = _interpolated(piece, header, box)
        total[box] += np.where(usable, plane, 0.0)
        count[box] += usable
    mask = count == 0
    return np.where(mask, 0.0, total / np.maximum(count, 1)), mask


def _interpolated(
    piece: Piece, header: fits.Header, box: tuple[slice, slice]
) -> tuple[Plane, Mask]:
    rows, columns = box
    part = header.copy()
    part["CRPIX1"] -= columns.start
    part["CRPIX2"] -= rows.start
    grid: dict[str, Any] = {
        "header": part,
        "shape": (rows.stop - rows.start, columns.stop - columns.start),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plane = reproject_lanczos((np.where(piece.bad, np.nan, piece.image), piece.wcs), **grid)
        flags = reproject_lanczos((piece.bad.astype(np.uint16), piece.wcs), is_flags=True, **grid)
    return plane, np.isfinite(plane) & (flags == 0)


def _box(piece: Piece, wcs: WCS, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """The pixels of the image among which are all that the piece shows; None if there are none."""
    height, width = piece.image.shape
    y, x = np.meshgrid(*(_places(length) for length in shape), indexing="ij")
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there_x, there_y = piece.wcs.wcs_world2pix(ra, dec, 0)
    reach = _MARGIN + _STEP * _ratio(wcs, piece.wcs)
    with np.errstate(invalid="ignore"):
        inside = (there_x > -reach) & (there_x < width - 1 + reach)
        inside &= (there_y > -reach) & (there_y < height - 1 + reach)
    if not inside.any():
        return None
    return tuple(
        slice(max(0, int(places.min()) - _STEP), min(length, int(places.max()) + _STEP + 1))
        for places, length in zip((y.ravel()[inside], x.ravel()[inside]), shape, strict=True)
    )  # type: ignore[return-value]


def _places(length: int) -> NDArray[np.float64]:
    return np.unique(np.append(np.arange(0, length, _STEP), length - 1)).astype(float)


def _ratio(wcs: WCS, other: WCS) -> float:
    """Pixels of the other grid along one pixel of this one."""
    scales = [np.sqrt(np.abs(np.linalg.det(each.pixel_scale_matrix))) for each in (wcs, other)]
    return float(scales[0] / scales[1])
