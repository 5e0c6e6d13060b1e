"""What is the difference of a whole image, subtracted tile by tile?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyrelay.imaging.candidates import Field
from skyrelay.imaging.subtraction import Difference, Engine, Pair, TileFailed, check_match
from skyrelay.imaging.tiles import Tile

#: A tile with a smaller part of good pixels is not tried.
_LEAST_GOOD = 0.02

_PLANES = ("convolved", "difference", "noise", "mask")


@dataclass(frozen=True, kw_only=True)
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
            profile=profile if self.profile is None else self.profile,
            fwhm=fwhm,
        )


@dataclass(frozen=True)
class SubtractedTile:
    """A tile and the core of its difference; or, without that, why it failed."""

    tile: Tile
    core: Difference | None
    failure: str = ""


def subtract_tile(
    pair: Pair, tile: Tile, objects: Table, engine: Engine, log: Callable[..., object]
) -> SubtractedTile:
    """Subtract one tile of an image.

    Parameters
    ----------
    objects : Table
        Measured objects of the whole image, with ``x`` and ``y``.
    """
    log(f"Tile {tile}")
    try:
        whole = _subtract(pair, tile, objects, engine, log)
    except TileFailed as failure:
        return SubtractedTile(tile, None, str(failure))
    core = {name: getattr(whole, name)[tile.core_in_window] for name in _PLANES}
    return SubtractedTile(tile, Difference(**core, profile=whole.profile))


def assemble(shape: tuple[int, int], tiles: Iterable[SubtractedTile]) -> Mosaic:
    """Put the cores of all tiles of an image of ``shape`` (rows, columns) together.

    What no tile has brought is masked.
    """
    whole = Difference(
        convolved=np.zeros(shape),
        difference=np.zeros(shape),
        noise=np.full(shape, np.nan),
        mask=np.ones(shape, dtype=bool),
    )
    failures: list[tuple[Tile, str]] = []
    profiles: list[NDArray[np.float64]] = []
    count = 0
    for each in tiles:
        count += 1
        if each.core is None:
            failures.append((each.tile, each.failure))
            continue
        for name in _PLANES:
            getattr(whole, name)[each.tile.core] = getattr(each.core, name)
        if each.core.profile is not None:
            profiles.append(each.core.profile)
    profile = np.mean(profiles, axis=0) if profiles else None
    planes = {name: getattr(whole, name) for name in _PLANES}
    return Mosaic(**planes, profile=profile, tiles=count, failures=failures)


def _subtract(
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
