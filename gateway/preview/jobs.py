"""What is handed to a renderer?"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gateway.preview.options import CutoutOptions, ImageOptions


class Unviewable(Exception):
    """There is no picture of it; the message says why, in a sentence."""


class Job(BaseModel):
    """A picture to be made; ``task`` is the one that it shows, if it shows one.

    ``folder`` is that of the task, with masks, objects and the refined coordinates; ``cache`` and
    ``cache_size`` (bytes) are where smaller versions of images are kept.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    task: int | None = None
    folder: str | None = None
    cache: str
    cache_size: float
    image: ImageOptions | None = None
    cutout: CutoutOptions | None = None


class Head(BaseModel):
    """What comes before the bytes of a picture; ``refusal`` instead of a picture."""

    size: int = 0
    refusal: str = ""
