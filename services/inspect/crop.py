"""How is a part of the image cut out, with all that belongs to its pixels?"""

from __future__ import annotations

from typing import NamedTuple

from stdpipe.cutouts import crop_image

from services.inspect.changes import image_to_change, replace_image, use_up
from skyrelay.errors import Permanent
from skyrelay.imaging.fits import MIN_SIDE, Image, write_image
from skyrelay.imaging.mask import read_custom_mask
from skyrelay.imaging.stack_frames import StackFrames
from skyrelay.imaging.wcs import wcs_of, with_wcs
from skyrelay.products import CUSTOM_MASK, CUSTOM_MASK_AREAS
from skyrelay.stage.context import StageContext

_PARAMETERS = ("crop_x1", "crop_y1", "crop_x2", "crop_y2")


class Box(NamedTuple):
    """Columns ``x1`` to ``x2`` and rows ``y1`` to ``y2``, each without the last, from 0."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        return self.y2 - self.y1


def run(context: StageContext) -> None:
    """Crop the image, and the custom mask with it.

    Raises
    ------
    Permanent
        If nothing, or next to nothing, would be left.
    """
    image = image_to_change(context)
    custom = read_custom_mask(context.folder, image.data.shape)
    box = _box(context, image.data.shape)
    context.log(f"Keeping columns {box.x1} to {box.x2} and rows {box.y1} to {box.y2}")
    replace_image(context, _cropped(image, box))
    if custom is not None:
        part, _ = crop_image(custom, box.x1, box.y1, box.width, box.height, header=image.header)
        write_image(context.path(CUSTOM_MASK), part)
    # It was drawn on what is no more.
    context.path(CUSTOM_MASK_AREAS).unlink(missing_ok=True)
    if frames := StackFrames.read(context.folder):
        frames.cropped(box.x1, box.y1).write(context.folder)
    use_up(context, *_PARAMETERS)
    context.measure("width", box.width, unit="px", doc="Width of what is left.")
    context.measure("height", box.height, unit="px", doc="Height of what is left.")


def _box(context: StageContext, shape: tuple[int, ...]) -> Box:
    height, width = shape
    sides = zip(_PARAMETERS, (0, 0, width, height), (width, height, width, height), strict=True)
    places = []
    for name, default, side in sides:
        given = context.parameter(name)
        place = default if given is None else int(given)
        places.append(min(max(place + side if place < 0 else place, 0), side))
    box = Box(*places)
    if min(box.width, box.height) < MIN_SIDE:
        raise Permanent(
            f"Nothing would be left of the image but {max(box.width, 0)} x {max(box.height, 0)} "
            f"px: at least {MIN_SIDE} px on each side are needed."
        )
    return box


def _cropped(image: Image, box: Box) -> Image:
    data, header = crop_image(
        image.data, box.x1, box.y1, box.width, box.height, header=image.header
    )
    wcs = wcs_of(image.header, image.data.shape)
    if wcs is not None:
        # A solution without CRPIX has its reference in the corner, which has moved too.
        wcs.wcs.crpix -= [box.x1, box.y1]
        if wcs.sip is None:
            header = with_wcs(header, wcs)
    for keyword in ("NAXIS1", "NAXIS2", "TRIMSEC", "DATASEC", "BIASSEC"):
        header.remove(keyword, ignore_missing=True)
    return Image(data, header, image.repairs)
