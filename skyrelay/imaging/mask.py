"""Which pixels must not be measured, and why?

``mask.fits`` holds one byte per pixel, a sum of the bits below: zero is a good pixel.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from stdpipe.pipeline import make_mask

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log, Pixels
from skyrelay.imaging.fits import Image, read_image, write_image
from skyrelay.products import CUSTOM_MASK, MASK

UNDEFINED = 1
SATURATED = 2
COSMIC = 4
CUSTOM = 8
OUTSIDE = 16

#: What detection must not even see; stars with a saturated or struck core are to be seen whole.
HIDDEN = UNDEFINED | CUSTOM | OUTSIDE

_MEANINGS = {
    UNDEFINED: "undefined",
    SATURATED: "saturated",
    COSMIC: "cosmic rays",
    CUSTOM: "custom mask",
    OUTSIDE: "outside the data section",
}

#: An image of which more is masked cannot be worked with.
_MOST_MASKED = 0.95


def build_mask(
    image: Image,
    *,
    saturation: float,
    gain: float,
    cosmics: bool,
    custom: Pixels | None,
    log: Log,
) -> Pixels:
    """Mask of an image: ``uint8`` of its shape, a sum of the bits of this module.

    Raises
    ------
    Permanent
        If nothing, or next to nothing, of the image is left.
    """
    data = image.data
    mask = np.zeros(data.shape, np.uint8)
    mask[~np.isfinite(data)] |= UNDEFINED
    if mask.all():
        raise Permanent("The image holds no number at all: every pixel is undefined (NaN).")
    mask[np.nan_to_num(data, nan=-np.inf) >= saturation] |= SATURATED
    if custom is not None:
        mask[custom != 0] |= CUSTOM
    mask[_outside(image.header, data.shape, log)] |= OUTSIDE
    _refuse_if_empty(mask)
    if cosmics:
        mask[_cosmic_rays(data, mask != 0, saturation, gain)] |= COSMIC
    _report(mask, log)
    _refuse_if_empty(mask)
    return mask


def read_custom_mask(folder: Path, shape: tuple[int, ...]) -> Pixels | None:
    """The mask that the user brought; non-zero pixels are masked. None if there is none.

    Raises
    ------
    Permanent
        If it does not fit the image.
    """
    path = folder / CUSTOM_MASK
    if not path.exists():
        return None
    mask = read_image(path).data
    if mask.shape != shape:
        raise Permanent(
            f"The custom mask has {mask.shape[1]} x {mask.shape[0]} px, "
            f"but the image has {shape[1]} x {shape[0]} px."
        )
    return mask


def write_mask(path: Path, mask: Pixels) -> None:
    """Write a mask as a FITS file, replacing the one that is there."""
    write_image(path, mask.astype(np.uint8))


def read_mask(folder: Path, shape: tuple[int, ...]) -> Pixels:
    """The bits of ``mask.fits`` in the task's folder.

    Raises
    ------
    Permanent
        If the image has not been inspected, or has been replaced since.
    """
    path = folder / MASK
    if not path.exists():
        raise Permanent("The image has no mask yet: run the inspection first.")
    mask = read_image(path).data.astype(np.uint8)
    if mask.shape != shape:
        raise Permanent("The mask does not fit the image: run the inspection again.")
    return mask


def _cosmic_rays(data: Pixels, masked: Pixels, saturation: float, gain: float) -> Any:
    filled = np.where(np.isfinite(data), data, np.median(data[~masked])).astype(np.float32)
    found = make_mask(
        filled,
        saturation=saturation,
        external_mask=masked,
        mask_cosmics=True,
        gain=gain,
        verbose=False,
    )
    return found & ~masked


def _outside(header: fits.Header, shape: tuple[int, ...], log: Log) -> Any:
    """Pixels outside TRIMSEC or DATASEC, where that is a part of this very image."""
    outside = np.zeros(shape, bool)
    for keyword in ("TRIMSEC", "DATASEC"):
        match = re.fullmatch(r"\[(\d+):(\d+),(\d+):(\d+)\]", str(header.get(keyword, "")).strip())
        if not match:
            continue
        x1, x2, y1, y2 = (int(number) for number in match.groups())
        if not (1 <= x1 < x2 <= shape[1] and 1 <= y1 < y2 <= shape[0]):
            log(f"{keyword} = {match[0]} does not lie in the image: not used")
            continue
        outside[:] = True
        outside[y1 - 1 : y2, x1 - 1 : x2] = False
        log(f"Masking outside {keyword} = {match[0]}")
        break
    return outside


def _report(mask: Pixels, log: Log) -> None:
    for bit, meaning in _MEANINGS.items():
        count = int(np.count_nonzero(mask & bit))
        if count:
            log(f"Masked as {meaning}: {count} pixels ({100 * count / mask.size:.2f} %)")
    log(f"Masked in total: {100 * np.count_nonzero(mask) / mask.size:.2f} % of the image")


def _refuse_if_empty(mask: Pixels) -> None:
    fraction = np.count_nonzero(mask) / mask.size
    if fraction > _MOST_MASKED:
        raise Permanent(
            f"{100 * fraction:.0f} % of the image is masked: check the saturation level, "
            "the custom mask and the image itself."
        )
