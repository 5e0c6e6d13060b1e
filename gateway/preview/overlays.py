"""What is drawn over an image: marks, objects, catalogue, lines of equal coordinates?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gateway.measurements.parquet import read_columns
from gateway.measurements.votable import Unreadable
from gateway.preview.jobs import Unviewable
from gateway.preview.options import ImageOptions
from gateway.preview.view import View
from skyrelay.imaging.wcs import to_pixels
from skyrelay.products import CATALOGUE, OBJECTS

_MARK, _RING, _CLEAN, _FLAGGED, _STAR, _LINE = "red", "orange", "lime", "yellow", "cyan", "green"
#: Radius in pixels of the picture.
_MARK_RADIUS, _OBJECT_RADIUS, _STAR_RADIUS = 12.0, 4.0, 6.0
#: More are not drawn: they would hide the image.
_MOST = 20_000
#: Distances of lines in degrees that can be read.
_STEPS = [
    unit * factor
    for unit, factors in ((1 / 3600, (1, 2, 5, 10, 20, 30)), (1 / 60, (1, 2, 5, 10, 20, 30)))
    for factor in factors
] + [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0]
#: Lines in each direction, about; points along each.
_LINES, _POINTS = 5, 60


def draw_overlays(
    image: Image.Image, view: View, options: ImageOptions, wcs: Any, folder: Path | None
) -> None:
    """Draw what the options ask for; ``folder`` is that of the task.

    Raises
    ------
    Unviewable
        If marks or lines are asked for on an image without coordinates.
    """
    canvas = ImageDraw.Draw(image)
    if options.grid:
        _draw_grid(canvas, view, _needed(wcs))
    if options.obj and folder is not None:
        _draw_objects(canvas, view, folder / OBJECTS)
    if options.cat and folder is not None:
        _draw_catalogue(canvas, view, folder / CATALOGUE, _needed(wcs))
    if marks := options.marks("ra"):
        x, y = to_pixels(_needed(wcs), np.array(marks), np.array(options.marks("dec")))
        radii = [radius / view.scale for radius in (options.radius2, options.radius3) if radius]
        _circles(canvas, view, x, y, options.radius / view.scale or _MARK_RADIUS, _MARK)
        for radius in radii:
            _circles(canvas, view, x, y, radius, _RING)


def _needed(wcs: Any) -> Any:
    if wcs is None:
        raise Unviewable("The image has no coordinates.")
    return wcs


def _draw_objects(canvas: ImageDraw.ImageDraw, view: View, path: Path) -> None:
    table = _columns(path, ("x", "y", "flags"))
    if table is None:
        return
    clean = table["flags"] == 0
    for chosen, colour in ((clean, _CLEAN), (~clean, _FLAGGED)):
        x, y = table["x"][chosen], table["y"][chosen]
        _circles(canvas, view, x, y, _OBJECT_RADIUS, colour)


def _draw_catalogue(canvas: ImageDraw.ImageDraw, view: View, path: Path, wcs: Any) -> None:
    table = _columns(path, ("RAJ2000", "DEJ2000"))
    if table is not None:
        x, y = to_pixels(wcs, table["RAJ2000"], table["DEJ2000"])
        _circles(canvas, view, x, y, _STAR_RADIUS, _STAR)


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
    """Columns of a table; None where there is no such table, or it is another one."""
    try:
        return {name: values[:_MOST] for name, values in read_columns(path, names).items()}
    except (OSError, Unreadable):
        return None


def _circles(
    canvas: ImageDraw.ImageDraw, view: View, x: Any, y: Any, radius: float, colour: str
) -> None:
    right, down = view.on_picture(np.asarray(x, float), np.asarray(y, float))
    width, height = view.size
    inside = (right > -radius) & (right < width + radius)
    inside &= (down > -radius) & (down < height + radius)
    for each, other in zip(right[inside], down[inside], strict=True):
        box = (each - radius, other - radius, each + radius, other + radius)
        canvas.ellipse(box, outline=colour)


def _draw_grid(canvas: ImageDraw.ImageDraw, view: View, wcs: Any) -> None:
    side = np.linspace(0, 1, 15)
    x, y = np.meshgrid(view.left + side * view.width - 0.5, view.low + side * view.height - 0.5)
    ra, dec = (np.ravel(each) for each in wcs.all_pix2world(x, y, 0))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        raise Unviewable("The coordinates of the image make no sense.")
    ra, dec = ra[known], dec[known]
    # Right ascension is counted from the middle, so that nothing jumps at 0 h.
    middle = ra[len(ra) // 2]
    ra = middle + (ra - middle + 180) % 360 - 180
    (ra0, ra1), (dec0, dec1) = (ra.min(), ra.max()), (dec.min(), dec.max())
    along_ra, along_dec = np.linspace(ra0, ra1, _POINTS), np.linspace(dec0, dec1, _POINTS)
    for value in _multiples(ra0, ra1):
        _line(canvas, view, wcs, np.full(_POINTS, value), along_dec, f"{value % 360:.4f}")
    for value in _multiples(dec0, dec1):
        _line(canvas, view, wcs, along_ra, np.full(_POINTS, value), f"{value:+.4f}")


def _multiples(low: float, high: float) -> Iterable[float]:
    wanted = (high - low) / _LINES
    step = next((step for step in _STEPS if step >= wanted), _STEPS[-1])
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(canvas: ImageDraw.ImageDraw, view: View, wcs: Any, ra: Any, dec: Any, label: str) -> None:
    right, down = view.on_picture(*to_pixels(wcs, ra, dec))
    width, height = view.size
    far = 4 * max(width, height)
    good = np.isfinite(right) & np.isfinite(down) & (abs(right) < far) & (abs(down) < far)
    points = [(float(a), float(b)) for a, b in zip(right[good], down[good], strict=True)]
    if len(points) < 2:
        return
    canvas.line(points, fill=_LINE)
    for a, b in points:
        if 2 < a < width - 60 and 2 < b < height - 14:
            canvas.text((a + 2, b + 1), label, fill=_LINE)
            break
