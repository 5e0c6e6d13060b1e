"""How do stripes along rows or columns go away?"""

from __future__ import annotations

import warnings

import numpy as np
from astropy.stats import mad_std

from services.inspect.changes import image_to_change, pixels_to_leave_out, replace_image, use_up
from skyrelay.imaging.arrays import Pixels
from skyrelay.stage.context import StageContext

#: Axis along which the median is taken, by direction of the stripes.
_AXES = {"vertical": (0,), "horizontal": (1,), "both": (0, 1)}


def run(context: StageContext) -> None:
    """Give every row, column, or both, the median of the whole image."""
    image = image_to_change(context)
    left_out = pixels_to_leave_out(context, image)
    for axis in _AXES[context.parameter("destripe_direction")]:
        offsets = _offsets(image.data, left_out, axis)
        image.data = (image.data + np.expand_dims(offsets, axis)).astype(image.data.dtype)
        name = ("columns", "rows")[axis]
        scatter = float(mad_std(offsets))
        context.log(f"The medians of {name} scattered by {scatter:.3g} ADU")
        context.measure(f"stripes_{name}", scatter, unit="ADU", doc=f"Scatter of the {name}.")
    replace_image(context, image)
    use_up(context, "destripe_direction")


def _offsets(data: Pixels, left_out: Pixels, axis: int) -> Pixels:
    """What each line along ``axis`` lacks to the median of all; 0 for a line without a pixel."""
    usable = np.where(left_out, np.nan, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        offsets = np.nanmedian(usable) - np.nanmedian(usable, axis=axis)
    return np.where(np.isfinite(offsets), offsets, 0.0)
