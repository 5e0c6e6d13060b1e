"""What comes out where several images show the same pixel?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skyrelay.imaging.arrays import Pixels

#: Bytes of all planes together that are in memory at once.
_MEMORY = 256 * 2**20
#: A value farther from the median than so many sigma is none of the sky's.
_CLIP = 4.0
#: Part of a star's light by which it may differ between frames: the seeing changes.
_UNSTEADY = 0.2

#: A plane that is to be filled, or was.
OnDisk = np.memmap[Any, np.dtype[np.float32]]


class Planes:
    """The registered frames, on disk: there may be more of them than fit into memory."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self._folder = folder
        self._shape = shape
        self._planes: list[Pixels] = []

    def __len__(self) -> int:
        return len(self._planes)

    @property
    def first(self) -> Pixels:
        """The frame that gives the pixels."""
        return np.asarray(self._planes[0])

    def new(self) -> OnDisk:
        """A plane to be filled, not yet one of the stack."""
        path = self._folder / f"plane{len(self._planes):05d}.dat"
        return np.memmap(path, dtype=np.float32, mode="w+", shape=self._shape)

    def add(self, plane: OnDisk) -> None:
        """Make a filled plane one of the stack."""
        plane.flush()
        self._planes.append(plane)

    def combined(self, combine: Callable[[Pixels], Pixels]) -> Pixels:
        """What ``combine`` makes of the planes, some rows of all of them at a time."""
        height, width = self._shape
        result = np.empty(self._shape, np.float32)
        step = max(1, _MEMORY // (8 * width * max(1, len(self))))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            strip = np.stack([plane[rows] for plane in self._planes]).astype(np.float64)
            with warnings.catch_warnings():
                # A pixel that no frame has is NaN, as it should be.
                warnings.simplefilter("ignore", RuntimeWarning)
                result[rows] = combine(strip)
        return result


def total(strip: Pixels) -> Pixels:
    """The sum; NaN where one of the frames has no pixel."""
    return np.asarray(np.sum(strip, axis=0))


def median(strip: Pixels) -> Pixels:
    """The median of those frames that have the pixel."""
    return np.asarray(np.nanmedian(strip, axis=0))


def clipped_mean(noises: Sequence[float], gain: float) -> Callable[[Pixels], Pixels]:
    """The mean without what the noise does not explain.

    The scatter of a handful of values says little about one of them; what a pixel's noise should
    be is known: that of the sky, of the light itself, and that of stars in unsteady air.
    """
    sky = np.reshape(np.asarray(noises, dtype=float), (-1, 1, 1))

    def combine(strip: Pixels) -> Pixels:
        middle = np.nanmedian(strip, axis=0)
        light = np.clip(middle, 0, None)
        sigma = np.sqrt(sky**2 + light / gain + (_UNSTEADY * light) ** 2)
        usable = np.abs(strip - middle) <= _CLIP * sigma
        return np.asarray(np.nanmean(np.where(usable, strip, np.nan), axis=0))

    return combine
