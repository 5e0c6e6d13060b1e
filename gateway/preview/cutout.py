"""How do the planes of a cut-out look beside each other?"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from PIL import Image, ImageDraw

from gateway.preview.jobs import Unviewable
from gateway.preview.options import CutoutOptions
from skyrelay.errors import Permanent
from skyrelay.imaging.fits_structure import check_structure

#: The planes in the order in which they are compared.
_ORDER = ("image", "template", "filtered", "convolved", "diff", "adjusted", "footprint", "mask")
#: Pixels above each plane for its name, and between planes.
_TITLE, _GAP = 16, 4
#: More pixels along a side, or more planes, are no cut-out.
_MOST_PIXELS, _MOST_PLANES = 2000, 16
#: Percent of the pixels of a plane that are black, and that are not white.
_BLACK, _WHITE = 0.5, 99.5


def render_cutout(path: Path, options: CutoutOptions) -> Image.Image:
    """The planes side by side, each with its name.

    Raises
    ------
    Unviewable
        If the file is no cut-out.
    """
    try:
        check_structure(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as hdus:
                planes = {str(hdu.name).lower(): _pixels(hdu) for hdu in hdus if _is_plane(hdu)}
                title = _title(hdus[0].header)
    except Permanent as error:
        raise Unviewable(str(error)) from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise Unviewable(f"{path.name} cannot be read as a cut-out: {error}") from error
    if not planes:
        raise Unviewable(f"{path.name} is no cut-out: it has no planes.")
    names = [name for name in _ORDER if name in planes]
    names += [name for name in planes if name not in names][: _MOST_PLANES - len(names)]
    return _side_by_side({name: planes[name] for name in names}, title, options.width)


def _is_plane(hdu: Any) -> bool:
    return bool(hdu.is_image and len(hdu.shape) == 2 and 0 < max(hdu.shape) <= _MOST_PIXELS)


def _pixels(hdu: Any) -> Any:
    return np.asarray(hdu.data, np.float32)


def _title(header: fits.Header) -> str:
    try:
        significance = abs(float(header["FLUX"]) / float(header["FLUXERR"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ""
    return f"S/N {significance:.1f}" if np.isfinite(significance) else ""


def _side_by_side(planes: dict[str, Any], title: str, width: int) -> Image.Image:
    side = max(8, (width - _GAP * (len(planes) - 1)) // len(planes))
    whole = Image.new("RGB", (width, side + _TITLE), "white")
    canvas = ImageDraw.Draw(whole)
    for index, (name, pixels) in enumerate(planes.items()):
        left = index * (side + _GAP)
        whole.paste(_panel(pixels).resize((side, side), Image.Resampling.NEAREST), (left, _TITLE))
        text = f"{name}, {title}" if title and index == 0 else name
        canvas.text((left + 2, 2), text, fill="black")
    return whole


def _panel(pixels: Any) -> Image.Image:
    known = np.isfinite(pixels)
    if not known.any():
        return Image.new("L", pixels.shape[::-1], 128)
    low, high = np.percentile(pixels[known], [_BLACK, _WHITE])
    if high <= low:
        low, high = pixels[known].min(), pixels[known].max()
    scaled = np.clip((np.where(known, pixels, low) - low) / (float(high - low) or 1.0), 0, 1)
    return Image.fromarray((scaled[::-1] * 255).astype(np.uint8))
