"""How is the subtraction of a large image spread over several replicas, and gathered again?

Every part has a few tiles. What all of them need, image and template on the same pixels, lies in
the shared folder as plain arrays, of which a part reads only the windows of its tiles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from skyrelay.imaging.fits import read_image
from skyrelay.imaging.mosaic import SubtractedTile
from skyrelay.imaging.subtraction import Difference, Pair
from skyrelay.imaging.tiles import Tile, cut
from skyrelay.messages import Outcome
from skyrelay.products import IMAGE
from skyrelay.stage.context import Piece, StageContext

#: Tiles of one part. Of the usual size they take half a minute or more, beside which the second
#: that it takes to hand a part over does not count.
_TILES_PER_PART = 4

_SCALARS = "pair.json"
_TILE = "tile-{}.npz"
_FAILURES = "failures.json"


def tiles_of(context: StageContext, shape: tuple[int, int]) -> list[Tile]:
    """The tiles of an image of ``shape`` (rows, columns), as the configuration cuts them."""
    size, overlap = context.parameter("sub_size"), context.parameter("sub_overlap")
    return cut(shape, int(size), int(overlap))


def parts(context: StageContext) -> int:
    """Into how many parts the image is worth splitting; 0: it is not."""
    rows, columns = read_image(context.path(IMAGE)).data.shape
    count = len(tiles_of(context, (rows, columns)))
    least = int(context.parameter("sub_split"))
    return math.ceil(count / _TILES_PER_PART) if least and count >= least else 0


def tiles_of_part(context: StageContext, shape: tuple[int, int], part: int) -> list[Tile]:
    """The tiles of part ``part``, from 1."""
    first = (part - 1) * _TILES_PER_PART
    return tiles_of(context, shape)[first : first + _TILES_PER_PART]


def save_pair(folder: Path, pair: Pair) -> None:
    """Leave image and template to all parts."""
    scalars = {}
    for field in fields(pair):
        value = getattr(pair, field.name)
        if isinstance(value, np.ndarray):
            np.save(folder / f"{field.name}.npy", value)
        else:
            scalars[field.name] = float(value)
    (folder / _SCALARS).write_text(json.dumps(scalars))


def load_pair(folder: Path) -> Pair:
    """What `save_pair` has left; its planes are read when they are needed."""
    planes = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    return Pair(**planes, **json.loads((folder / _SCALARS).read_text()))


def save_tiles(folder: Path, tiles: Sequence[SubtractedTile]) -> None:
    """Leave the tiles of a part to what joins them."""
    failures = {}
    for each in tiles:
        if each.core is None:
            failures[str(each.tile)] = each.failure
        else:
            planes = {name: plane for name, plane in vars(each.core).items() if plane is not None}
            np.savez(folder / _TILE.format(_name(each.tile)), **planes)
    (folder / _FAILURES).write_text(json.dumps(failures))


def load_tiles(
    context: StageContext, shape: tuple[int, int], pieces: Sequence[Piece]
) -> Iterator[SubtractedTile]:
    """The tiles of all parts, one by one; those of a part that failed have failed like it."""
    for piece in pieces:
        tiles = tiles_of_part(context, shape, piece.part)
        if piece.outcome is Outcome.FAILED:
            reason = " ".join(piece.reasons).rstrip(".")
            yield from (SubtractedTile(tile, None, reason) for tile in tiles)
            continue
        failures = json.loads((piece.shared / _FAILURES).read_text())
        for tile in tiles:
            if str(tile) in failures:
                yield SubtractedTile(tile, None, failures[str(tile)])
            else:
                with np.load(piece.shared / _TILE.format(_name(tile))) as core:
                    yield SubtractedTile(tile, Difference(**core))


def _name(tile: Tile) -> str:
    rows, columns = tile.core
    return f"{rows.start}-{columns.start}"
