"""What is the difference of a whole image, subtracted tile by tile?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyrelay.imaging.candidates import Field
from skyrelay.imaging.subtraction import Difference, Engine, Pair, TileFailed, check_match
from skyrelay.imaging.tiles import Tile, cut

#: A tile with a smaller part of good pixels is not tried.
_LEAST_GOOD = 0.02


@dataclass(frozen=True)
class Mosaic(Difference):
    """The difference of the whole image; its noise is NaN where a tile failed.

    Attributes
    ----------
    tiles : int
        Number of tiles.
    failures : list
        Those that failed, each with the reason; their area is masked.
    """

    tiles: int
    failures: list[tuple[Tile, str]]

    def as_field(self, profile: NDArray[np.float64], fwhm: float) -> Field:
        """The difference as one searches it, with the image's point source and FWHM (pixels)."""
        return Field(
            difference=self.difference,
            noise=self.noise,
            convolved=self.convolved,
            mask=self.mask,
            profile=profile,
            fwhm=fwhm,
        )


def subtract(
    pair: Pair,
    objects: Table,
    engine: Engine,
    *,
    size: int,
    overlap: int,
    log: Callable[..., object],
    progress: Callable[[float], None],
) -> Mosaic:
    """Subtract every tile and put the cores of all of them together.

    Parameters
    ----------
    objects : Table
        Measured objects of the image, with ``x`` and ``y``.
    size, overlap : int
        See `skyrelay.imaging.tiles.cut`.
    """
    rows, columns = pair.image.shape
    tiles = cut((rows, columns), size, overlap)
    whole = Difference(
        convolved=np.zeros((rows, columns)),
        difference=np.zeros((rows, columns)),
        noise=np.full((rows, columns), np.nan),
        mask=np.ones((rows, columns), dtype=bool),
    )
    failures: list[tuple[Tile, str]] = []
    for number, tile in enumerate(tiles):
        log(f"Tile {number + 1} of {len(tiles)}: {tile}")
        try:
            part = _subtract_tile(pair, tile, objects, engine, log)
        except TileFailed as failure:
            failures.append((tile, str(failure)))
        else:
            for name in ("convolved", "difference", "noise", "mask"):
                getattr(whole, name)[tile.core] = getattr(part, name)[tile.core_in_window]
        progress((number + 1) / len(tiles))
    return Mosaic(whole.convolved, whole.difference, whole.noise, whole.mask, len(tiles), failures)


def _subtract_tile(
    pair: Pair, tile: Tile, objects: Table, engine: Engine, log: Callable[..., object]
) -> Difference:
    part = pair.part(tile.window)
    good = ~(part.mask | part.template_mask)
    if good.mean() < _LEAST_GOOD:
        raise TileFailed(
            "the template does not cover it" if part.template_mask.all() else "it is masked"
        )
    inside = _objects_in(objects, tile)
    difference = engine(part, inside, log)
    check_match(part, difference, inside)
    return difference


def _objects_in(objects: Table, tile: Tile) -> NDArray[np.void] | Table:
    """The objects in a tile's window, their positions counted from its first pixel."""
    rows, columns = tile.window
    x, y = np.asarray(objects["x"], dtype=float), np.asarray(objects["y"], dtype=float)
    inside = (x >= columns.start) & (x < columns.stop) & (y >= rows.start) & (y < rows.stop)
    chosen = objects[inside].copy()
    chosen["x"], chosen["y"] = x[inside] - columns.start, y[inside] - rows.start
    return chosen
