"""How do rectangles that somebody has drawn on a picture become a mask of the image's pixels?

A mask of a large image has as many bytes as the image has pixels, and hardly anything in them: it
is written row by row, so that whoever answers everybody needs no memory for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

_BLOCK = 2880


@dataclass(frozen=True)
class Area:
    """A rectangle, in pixels of the picture from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class _Box:
    """Columns ``x1`` to ``x2`` and rows ``y1`` to ``y2``, each without the last, from 0."""

    x1: int
    y1: int
    x2: int
    y2: int


def write_drawn_mask(
    target: IO[bytes], shape: tuple[int, int], areas: Sequence[Area], across: float, *, hide: bool
) -> int:
    """Write the mask as a FITS file, 1 where a pixel is not to be used; how many such there are.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image, whose first row is the lowest of the picture.
    across : float
        Width of the picture that was drawn on.
    hide : bool
        The areas are what is not to be used; else, all but the areas.
    """
    height, width = shape
    boxes = [_box(area, shape, width / across) for area in areas]
    target.write(_header(shape))
    masked = written = 0
    for low, high in _strips(boxes, height):
        row = bytearray(b"\x00" if hide else b"\x01") * width
        for box in boxes:
            if box.y1 <= low and high <= box.y2:
                row[box.x1 : box.x2] = (b"\x01" if hide else b"\x00") * (box.x2 - box.x1)
        masked += row.count(1) * (high - low)
        for _ in range(low, high):
            written += target.write(row)
    target.write(bytes(-written % _BLOCK))
    return masked


def _strips(boxes: Sequence[_Box], height: int) -> list[tuple[int, int]]:
    """Rows that are alike: where each of such strips begins and ends."""
    edges = sorted({0, height, *(edge for box in boxes for edge in (box.y1, box.y2))})
    return list(pairwise(edges))


def _box(area: Area, shape: tuple[int, int], scale: float) -> _Box:
    """The pixels that an area touches; none of those beyond the image."""
    height, width = shape

    def within(place: float, side: int) -> int:
        return int(min(max(place, 0), side))

    x1, x2 = math.floor(scale * area.x), math.ceil(scale * (area.x + area.width))
    top, bottom = math.floor(scale * area.y), math.ceil(scale * (area.y + area.height))
    return _Box(
        within(x1, width),
        height - within(bottom, height),
        within(x2, width),
        height - within(top, height),
    )


def _header(shape: tuple[int, int]) -> bytes:
    cards = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 2, "NAXIS1": shape[1], "NAXIS2": shape[0]}
    text = "".join(f"{name:<8}= {value:>20}".ljust(80) for name, value in cards.items())
    return f"{text}END".ljust(_BLOCK).encode("ascii")
