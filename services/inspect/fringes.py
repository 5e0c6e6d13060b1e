"""How do fringes of night-sky lines go away?"""

from __future__ import annotations

import numpy as np
from stdpipe.fringe_removal import remove_fringes

from services.inspect.changes import image_to_change, pixels_to_leave_out, replace_image
from skyrelay.errors import Permanent
from skyrelay.imaging.fits import write_image
from skyrelay.products import FRINGE_MODEL
from skyrelay.stage.context import StageContext


def run(context: StageContext) -> None:
    """Subtract a smooth model of the fringes, which is kept as a file.

    Raises
    ------
    Permanent
        If there is no pixel from which they could be modelled.
    """
    image = image_to_change(context)
    left_out = pixels_to_leave_out(context, image)
    if left_out.all():
        raise Permanent("There is no pixel left from which fringes could be modelled.")
    context.progress(0.1, "modelling the fringes")
    # What is undefined stays so; the model needs a number in its place.
    filled = np.where(np.isfinite(image.data), image.data, np.median(image.data[~left_out]))
    _, model = remove_fringes(
        filled.astype(np.float64), mask=left_out, get_fringe_model=True, verbose=context.log
    )
    model = np.nan_to_num(model)
    image.data = (image.data - model).astype(image.data.dtype)
    write_image(context.path(FRINGE_MODEL), model.astype(np.float32), image.header)
    replace_image(context, image)
    context.measure(
        "fringe_amplitude", float(np.std(model)), unit="ADU", doc="Scatter of the fringe model."
    )
