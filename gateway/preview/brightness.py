"""How bright is a pixel, and in which colour?"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from astropy.convolution import Gaussian1DKernel, convolve
from astropy.visualization import (
    AsinhStretch,
    HistEqStretch,
    LogStretch,
    PowerStretch,
    SinhStretch,
    SqrtStretch,
)
from numpy.typing import NDArray

from gateway.preview.jobs import Unviewable
from gateway.preview.options import Brightness

_STRETCHES = {
    "asinh": AsinhStretch(0.1),
    "log": LogStretch(1000.0),
    "sqrt": SqrtStretch(),
    "sinh": SinhStretch(1 / 3),
    "power": PowerStretch(2.0),
}
#: Colour of pixels that are no number.
_NOTHING = (128, 128, 128)
#: Every so many numbers of the sample equalize a histogram.
_THINNED = 10


def coloured(
    pixels: NDArray[np.float32], sample: NDArray[np.float32], options: Brightness
) -> NDArray[np.uint8]:
    """Red, green and blue of each pixel; ``sample``: numbers of the image to choose the scale by.

    Raises
    ------
    Unviewable
        If there is no such colour map, or no number in the image.
    """
    if options.cmap not in matplotlib.colormaps:
        raise Unviewable(
            f"There is no colour map {options.cmap!r}: take one of Matplotlib, such as viridis."
        )
    if not sample.size:
        raise Unviewable("There is no number in the image.")
    low, high = np.percentile(sample, [options.qmin, options.qmax])
    span = float(high - low) or 1.0
    known = np.isfinite(pixels)
    scaled = np.clip((np.where(known, pixels, low) - low) / span, 0, 1)
    if options.stretch == "histeq":
        thinned = sample[:: _THINNED if sample.size > 1000 * _THINNED else 1]
        scaled = HistEqStretch(np.clip((thinned - low) / span, 0, 1))(scaled)
    elif options.stretch in _STRETCHES:
        scaled = _STRETCHES[options.stretch](scaled)
    table = (matplotlib.colormaps[options.cmap](np.arange(256))[:, :3] * 255).astype(np.uint8)
    picture = table[(np.clip(scaled, 0, 1) * 255).astype(np.uint8)]
    picture[~known] = _NOTHING
    return np.asarray(picture, np.uint8)


def smoothed(pixels: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    """The pixels, smoothed by a Gaussian of this sigma in pixels."""
    if sigma >= 0.2:
        line = Gaussian1DKernel(sigma).array
        for kernel in (line[None, :], line[:, None]):
            pixels = convolve(pixels, kernel, boundary="extend", preserve_nan=True)
    return np.asarray(pixels, np.float32)
