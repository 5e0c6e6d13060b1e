"""How do the planes of a cut-out look beside each other?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gateway.preview.brightness import coloured, smoothed
from gateway.preview.jobs import Unviewable
from gateway.preview.options import CutoutOptions
from gateway.preview.planes import NoCutout, opened_planes

#: The planes in the order in which they are compared.
_ORDER = ("image", "template", "filtered", "convolved", "diff", "adjusted", "footprint", "mask")
#: Pixels above each plane for its name, and between planes.
_TITLE, _GAP = 16, 4
_MARK, _RING = "red", "orange"


def render_cutout(path: Path, options: CutoutOptions) -> Image.Image:
    """The planes side by side, each with its name.

    Raises
    ------
    Unviewable
        If the file is no cut-out.
    """
    try:
        with opened_planes(path) as planes:
            names = [name for name in _ORDER if name in planes.hdus]
            names += [name for name in planes.hdus if name not in names]
            if not names:
                raise Unviewable(f"{path.name} is no cut-out: it has no planes.")
            pixels = {name: np.asarray(planes.hdus[name].data, np.float32) for name in names}
            title = _title(planes.header)
    except NoCutout as error:
        raise Unviewable(str(error)) from error
    return _side_by_side(pixels, title, options)


def _title(header: Any) -> str:
    try:
        significance = abs(float(header["FLUX"]) / float(header["FLUXERR"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ""
    return f"S/N {significance:.1f}" if np.isfinite(significance) else ""


def _side_by_side(planes: dict[str, Any], title: str, options: CutoutOptions) -> Image.Image:
    width = options.width
    side = max(8, (width - _GAP * (len(planes) - 1)) // len(planes))
    whole = Image.new("RGB", (width, side + _TITLE), "white")
    canvas = ImageDraw.Draw(whole)
    for index, (name, pixels) in enumerate(planes.items()):
        left = index * (side + _GAP)
        panel = _panel(pixels, options).resize((side, side), Image.Resampling.NEAREST)
        if options.mark:
            _draw_marks(ImageDraw.Draw(panel), side, pixels.shape, options)
        whole.paste(panel, (left, _TITLE))
        text = f"{name}, {title}" if title and index == 0 else name
        canvas.text((left + 2, 2), text, fill="black")
    return whole


def _panel(pixels: Any, options: CutoutOptions) -> Image.Image:
    sample = pixels[np.isfinite(pixels)]
    if not sample.size:
        return Image.new("RGB", pixels.shape[::-1], (128, 128, 128))
    picture = coloured(smoothed(pixels, options.r0), sample, options)
    return Image.fromarray(np.ascontiguousarray(picture[::-1]))


def _draw_marks(
    canvas: ImageDraw.ImageDraw, side: int, shape: tuple[int, int], options: CutoutOptions
) -> None:
    """Circles around the object, in whose middle pixel a cut-out has its own."""
    radii = (options.radius, options.radius2, options.radius3)
    # From the upper left corner, which is the outer edge of the last row.
    right, down = (shape[1] // 2 + 0.5) / shape[1], 1 - (shape[0] // 2 + 0.5) / shape[0]
    for number, radius in enumerate(radii):
        if radius:
            x, y = radius / shape[1], radius / shape[0]
            box = [side * each for each in (right - x, down - y, right + x, down + y)]
            canvas.ellipse(box, outline=_RING if number else _MARK)
