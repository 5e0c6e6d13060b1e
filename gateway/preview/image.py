"""How does an image become a picture: which part, how bright, in which colours?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gateway.preview.brightness import coloured, smoothed
from gateway.preview.jobs import Job, Unviewable
from gateway.preview.levels import Levels, Pixels, opened
from gateway.preview.options import ImageOptions
from gateway.preview.overlays import draw_overlays
from gateway.preview.view import View
from skyrelay.imaging.wcs import load_wcs, pixel_scale, to_pixels, wcs_of
from skyrelay.products import CUSTOM_MASK, IMAGE

#: Colour of masked pixels.
_MASKED = (200, 60, 60)


def render_image(job: Job, options: ImageOptions) -> Image.Image:
    """The picture of an image.

    Raises
    ------
    Unviewable
        If the file cannot be shown in this way.
    """
    path, cache = Path(job.path), Path(job.cache)
    with opened(cache, job.cache_size, path, options.ext) as levels:
        wcs = _coordinates(job, levels)
        view = _view(options, levels, wcs)
        pixels = _resampled(levels, view)
        if options.r0:
            pixels = smoothed(pixels, options.r0 / view.scale)
        picture = coloured(pixels, levels.sample, options)
        mask = _mask_of(job, view, levels.shape)
    if mask is not None:
        picture[mask] = picture[mask] // 2 + np.array(_MASKED, np.uint8) // 2
    image = Image.fromarray(np.ascontiguousarray(picture[::-1]))
    draw_overlays(image, view, options, wcs, Path(job.folder) if job.folder else None)
    return image


def _coordinates(job: Job, levels: Levels) -> Any:
    if job.folder is not None and Path(job.path).name.startswith(("image", "mask", "sub_")):
        return load_wcs(Path(job.folder), levels.header, levels.shape)
    return wcs_of(levels.header, levels.shape)


def _view(options: ImageOptions, levels: Levels, wcs: Any) -> View:
    rows, columns = levels.shape
    if options.sub_ra is None or options.sub_dec is None:
        width, height = columns / options.zoom, rows / options.zoom
        # The view stays inside the image however far its centre is pushed.
        left = min(max((0.5 + options.dx) * columns - width / 2, 0), columns - width)
        low = min(max((0.5 + options.dy) * rows - height / 2, 0), rows - height)
        return View(left, low, width, height, options.width)
    if wcs is None:
        raise Unviewable("The image has no coordinates by which a part could be cut out.")
    x, y = (float(np.ravel(each)[0]) for each in to_pixels(wcs, options.sub_ra, options.sub_dec))
    if not (0 <= x < columns and 0 <= y < rows):
        raise Unviewable("The position lies outside the image.")
    size = options.sub_size or 100.0
    if options.sub_sr is not None:
        size = 2 * options.sub_sr / pixel_scale(wcs)
    size = min(max(size, 2.0), 2.0 * max(rows, columns))
    return View(x + 0.5 - size / 2, y + 0.5 - size / 2, size, size, options.width)


@dataclass(frozen=True)
class _Box:
    """A part of an array: its slices, and where in it the view lies."""

    y: slice
    x: slice
    inside: tuple[float, float, float, float]


def _box(view: View, shape: tuple[int, int], factor: float) -> _Box | None:
    left, low = view.left / factor, view.low / factor
    right, high = left + view.width / factor, low + view.height / factor
    x0, y0 = max(0, math.floor(left) - 1), max(0, math.floor(low) - 1)
    x1, y1 = min(shape[1], math.ceil(right) + 1), min(shape[0], math.ceil(high) + 1)
    if x1 <= x0 or y1 <= y0:
        return None
    return _Box(slice(y0, y1), slice(x0, x1), (left - x0, low - y0, right - x0, high - y0))


def _resampled(levels: Levels, view: View) -> Pixels:
    """The pixels of the view, as many as the picture has; NaN where there are none."""
    level = min(max(0, math.floor(math.log2(max(view.scale, 1.0)))), len(levels.shrunk))
    shape = levels.shape if level == 0 else levels.shrunk[level - 1].shape
    box = _box(view, (shape[0], shape[1]), 2.0**level)
    if box is None:
        raise Unviewable("The position lies outside the image.")
    part = levels.read(level, box.y, box.x)
    left, low, right, high = box.inside
    pad = (
        (max(0, math.ceil(-low)), max(0, math.ceil(high) - part.shape[0])),
        (max(0, math.ceil(-left)), max(0, math.ceil(right) - part.shape[1])),
    )
    part = np.pad(part, pad, constant_values=np.nan)
    left, right, low, high = (
        left + pad[1][0], right + pad[1][0], low + pad[0][0], high + pad[0][0]
    )  # fmt: skip
    region = (left, low, min(right, part.shape[1]), min(high, part.shape[0]))
    known = np.isfinite(part)
    values = _resized(np.where(known, part, 0), view.size, region)
    if known.all():
        return values
    weights = _resized(known.astype(np.float32), view.size, region)
    with np.errstate(all="ignore"):
        return np.where(weights > 0.5, values / weights, np.nan).astype(np.float32)


def _resized(
    part: NDArray[Any], size: tuple[int, int], region: tuple[float, float, float, float]
) -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(part, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=region), np.float32)


def _mask_of(job: Job, view: View, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Where the user's mask is, on the picture of the task's image."""
    if job.folder is None or Path(job.path).name != IMAGE:
        return None
    path = Path(job.folder) / CUSTOM_MASK
    if not path.is_file():
        return None
    with opened(Path(job.cache), job.cache_size, path, -1) as mask:
        if mask.shape != shape:
            return None
        return np.asarray(_resampled(mask, view) > 0)
