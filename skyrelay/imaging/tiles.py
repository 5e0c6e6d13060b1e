"""How is an image of any size cut into overlapping tiles, and put together again?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Tile:
    """One tile of an image.

    Attributes
    ----------
    window : tuple of slice
        The pixels that are worked on (rows, columns), overlap included.
    core : tuple of slice
        The pixels of the image that this tile alone answers for. The cores of all tiles cover
        the image exactly once.
    """

    window: tuple[slice, slice]
    core: tuple[slice, slice]

    @property
    def origin(self) -> tuple[int, int]:
        """Position (x, y) of the window's first pixel in the image."""
        return self.window[1].start, self.window[0].start

    @property
    def core_in_window(self) -> tuple[slice, slice]:
        """The core, counted from the window's first pixel."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core, self.window, strict=True)
        )
        return rows, columns

    def __str__(self) -> str:
        rows, columns = self.core
        return f"x {columns.start}-{columns.stop - 1}, y {rows.start}-{rows.stop - 1}"


def cut(shape: tuple[int, int], size: int, overlap: int) -> list[Tile]:
    """Tiles of about equal size that cover an image of ``shape`` (rows, columns).

    No core is wider than ``size``; every window reaches ``overlap`` pixels over its core where
    the image does.
    """
    rows, columns = (_pieces(length, size, overlap) for length in shape)
    return [
        Tile(window=(row[0], column[0]), core=(row[1], column[1]))
        for row in rows
        for column in columns
    ]


def _pieces(length: int, size: int, overlap: int) -> list[tuple[slice, slice]]:
    """Window and core of every piece of one axis."""
    edges = np.linspace(0, length, math.ceil(length / size) + 1).round().astype(int)
    return [
        (slice(max(0, int(a) - overlap), min(length, int(b) + overlap)), slice(int(a), int(b)))
        for a, b in pairwise(edges)
    ]
