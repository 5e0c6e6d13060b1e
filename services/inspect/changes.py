"""How is the image of a task changed so that the original comes back when it is wanted?"""

from __future__ import annotations

import numpy as np

from skyrelay.imaging.arrays import Pixels
from skyrelay.imaging.fits import Image, read_image, write_image
from skyrelay.imaging.mask import read_custom_mask
from skyrelay.parameters.findings import forget
from skyrelay.products import IMAGE, IMAGE_ORIGINAL
from skyrelay.stage.context import StageContext
from skyrelay.store import files


def image_to_change(context: StageContext) -> Image:
    """The image as it is now.

    Raises
    ------
    Permanent
        If there is none that can be read.
    """
    context.progress(0.0, "reading the image")
    image = read_image(context.path(IMAGE))
    height, width = image.data.shape
    context.log(f"The image has {width} x {height} pixels")
    return image


def pixels_to_leave_out(context: StageContext, image: Image) -> Pixels:
    """What tells nothing about stripes, fringes or background: undefined, or masked by the user."""
    custom = read_custom_mask(context.folder, image.data.shape)
    undefined = ~np.isfinite(image.data)
    return undefined if custom is None else undefined | (custom != 0)


def replace_image(context: StageContext, image: Image) -> None:
    """Make ``image`` the image of the task; its first version is kept beside it.

    Nothing that was found out about the image before is true any more.
    """
    context.progress(0.9, "writing")
    keep_original(context)
    write_image(context.path(IMAGE), image.data, image.header)
    forget(context.config)


def keep_original(context: StageContext) -> None:
    """Keep the image as it is as the original, unless one is kept already."""
    original = context.path(IMAGE_ORIGINAL)
    if not original.exists():
        # The image is replaced and never changed in place, so that another name is enough.
        files.link_or_copy_atomically(context.path(IMAGE), original)
        context.log(f"The original is kept as {IMAGE_ORIGINAL}")


def use_up(context: StageContext, *names: str) -> None:
    """Take the parameters of a change out of the configuration: the next one is another."""
    for name in names:
        context.config.pop(name, None)
