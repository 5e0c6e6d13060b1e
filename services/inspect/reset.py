"""How does the original image come back after changes?"""

from __future__ import annotations

from skyrelay.errors import Permanent
from skyrelay.parameters.findings import forget
from skyrelay.products import FRINGE_MODEL, IMAGE, IMAGE_ORIGINAL
from skyrelay.stage.context import StageContext
from skyrelay.store import files


def run(context: StageContext) -> None:
    """Make the original the image again.

    Raises
    ------
    Permanent
        If the image was never changed.
    """
    original = context.path(IMAGE_ORIGINAL)
    if not original.exists():
        raise Permanent("The image was never changed: there is no original to go back to.")
    original.replace(context.path(IMAGE))
    files.remove(context.path(FRINGE_MODEL))
    forget(context.config)
    context.log("The image is the original again")
