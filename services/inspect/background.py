"""How does an uneven background go away?"""

from __future__ import annotations

from typing import Any

import numpy as np
from stdpipe.photometry import get_background

from services.inspect.changes import image_to_change, pixels_to_leave_out, replace_image, use_up
from skyrelay.errors import Permanent
from skyrelay.stage.context import StageContext


def run(context: StageContext) -> None:
    """Subtract the background, or divide by it and keep its level.

    Raises
    ------
    Permanent
        If there is no background to estimate, or none to divide by.
    """
    image = image_to_change(context)
    left_out = pixels_to_leave_out(context, image)
    if left_out.all():
        raise Permanent("There is no pixel left from which a background could be estimated.")
    context.progress(0.1, "estimating the background")
    background = _background(context, image.data, left_out)
    level = float(np.nanmedian(background))
    context.log(f"The median of the background is {level:.6g} ADU")
    if context.parameter("remove_bg_divide"):
        if not level > 0:
            raise Permanent("The background is not positive: it can be subtracted, not divided by.")
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = np.where(background > 0, background / level, np.nan)
            changed = image.data / flat
        context.log("Divided by the background")
    else:
        changed = image.data - background
        context.log("Subtracted the background")
    image.data = changed.astype(image.data.dtype)
    replace_image(context, image)
    use_up(context, "remove_bg_method", "remove_bg_size", "remove_bg_divide")
    context.measure("background", level, unit="ADU", doc="Median of the background.")


def _background(context: StageContext, data: Any, left_out: Any) -> Any:
    size = min(int(context.parameter("remove_bg_size")), *data.shape)
    method = context.parameter("remove_bg_method")
    context.log(f"Estimating the background: {method}, mesh of {size} px")
    filled = np.where(left_out, np.median(data[~left_out]), data).astype(np.float64)
    try:
        return get_background(filled, mask=left_out, method=method, size=size, get_rms=False)
    except (ValueError, ZeroDivisionError) as error:
        raise Permanent(f"The background cannot be estimated by {method}: {error}.") from None
