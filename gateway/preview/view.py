"""Which part of an image does a picture show, and where on it is a pixel?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class View:
    """A part of an image, in its pixels from the outer edge of the first one, as a picture.

    ``across`` is the width of the picture.
    """

    left: float
    low: float
    width: float
    height: float
    across: int

    @property
    def scale(self) -> float:
        """Pixels of the image in one of the picture."""
        return self.width / self.across

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture; an image of any shape stays one that can be sent."""
        return self.across, min(max(1, round(self.height / self.scale)), 4 * self.across)

    def on_picture(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Where the centres of pixels (from 0) are, from the upper left corner."""
        vertical = self.size[1] / self.height
        return (
            (x + 0.5 - self.left) / self.scale,
            self.size[1] - (y + 0.5 - self.low) * vertical,
        )
