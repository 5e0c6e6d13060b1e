"""Which image is measured, and with which mask?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging.apertures import Exposure
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.mask import HIDDEN, read_mask
from skyrelay.sky.filters import known_filter
from skyrelay.stage.context import StageContext


@dataclass
class Frame:
    """The image that is being worked on."""

    data: Any
    header: Any
    mask: Any
    hidden: Any
    gain: float
    bg_size: int
    filter: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.data.shape
        return height, width

    @property
    def exposure(self) -> Exposure:
        """What aperture photometry needs of it."""
        return Exposure(self.data, self.mask, self.gain, self.bg_size)


def load_frame(context: StageContext) -> Frame:
    """The image of the task with its mask, and what its parameters say about it."""
    image = read_image(context.path(products.IMAGE))
    bits = read_mask(context.folder, image.data.shape)
    name = known_filter(str(context.parameter("filter") or "r"))
    if name is None:
        raise Permanent(f"The filter '{context.parameter('filter')}' is unknown.")
    smallest_side = min(image.data.shape)
    bg_size = int(context.parameter("bg_size") or min(256, smallest_side // 2))
    return Frame(
        data=image.data,
        header=image.header,
        mask=bits != 0,
        hidden=(bits & HIDDEN) != 0,
        gain=float(context.parameter("gain") or 1.0),
        bg_size=min(bg_size, smallest_side),
        filter=name,
    )
