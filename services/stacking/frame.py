"""What does an image need before it can be added to others?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astroscrappy
import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.header import exposure_of, header_gain, header_saturation, saturation_of
from skyrelay.imaging.sky import sky_of
from skyrelay.imaging.times import middle_of, time_of
from skyrelay.imaging.wcs import wcs_of

#: Size of the mesh of the background, in pixels.
_MESH = 256


@dataclass
class Frame:
    """One image of a stack, ready to be registered.

    Attributes
    ----------
    name : str
        As the configuration calls it.
    data : ndarray of float
        Pixels; NaN where there is none. Without the sky, if that was wanted.
    sky, noise : float
        Level of the sky that was there, and its scatter, in ADU.
    """

    name: str
    data: NDArray[Any]
    header: fits.Header
    wcs: WCS | None
    sky: float
    noise: float


@dataclass(frozen=True)
class About:
    """What the header of a stack needs to know of a frame; None where it is not known.

    Attributes
    ----------
    saturation : float or None
        Level in ADU, above what is zero in the frame now.
    start, middle : Time or None
        Of the exposure.
    exposure : float or None
        Seconds.
    """

    gain: float | None
    saturation: float | None
    start: Time | None
    middle: Time | None
    exposure: float | None


def load(name: str, path: Path, *, subtract_sky: bool, mask_cosmics: bool, log: Log) -> Frame:
    """Read an image and prepare it.

    Raises
    ------
    Permanent
        If there is no usable image in the file.
    """
    image = read_image(path)
    for repair in image.repairs:
        log(f"Repaired: {repair}")
    undefined = ~np.isfinite(image.data)
    if undefined.all():
        raise Permanent(f"The image {path.name} holds no number at all.")
    data = np.where(undefined, np.nan, image.data)
    wcs = wcs_of(image.header, data.shape)
    if mask_cosmics:
        data = _without_cosmics(data, undefined, image.header, log)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            background, noise = sky_of(data, undefined, _MESH)
        except Exception as error:
            raise Permanent(f"The background of {path.name} cannot be measured: {error}.") from None
    sky, scatter = float(np.median(background)), float(np.median(noise))
    if subtract_sky:
        data = data - background
    return Frame(name, data.astype(np.float32), image.header, wcs, sky, scatter)


def about(frame: Frame, *, sky_subtracted: bool) -> About:
    """What the header of the stack needs to know of this frame."""
    header = frame.header
    saturation = header_saturation(header)
    if saturation is not None and sky_subtracted:
        saturation -= frame.sky
    return About(
        gain=header_gain(header, _silent),
        saturation=saturation,
        start=time_of(header, _silent),
        middle=middle_of(header),
        exposure=exposure_of(header),
    )


def _without_cosmics(
    data: NDArray[Any], undefined: NDArray[np.bool_], header: fits.Header, log: Log
) -> NDArray[Any]:
    """The image with cosmic rays replaced by the median around them."""
    filled = np.where(undefined, np.median(data[~undefined]), data).astype(np.float32)
    found, clean = astroscrappy.detect_cosmics(
        filled,
        inmask=undefined,
        gain=1.0,
        satlevel=saturation_of(header, data, _silent),
        cleantype="medmask",
        verbose=False,
    )
    log(f"Replaced {int(found.sum())} pixels that cosmic rays have struck")
    return np.where(undefined, np.nan, np.where(found, clean, data))


def _silent(*_: object) -> None:
    """The frame's header tells much that the stack's log need not repeat."""
