"""How does a program get pictures of images?"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from skyrelay.client.transport import Transport


class PictureCalls(Transport):
    """Pictures, as JPEG unless ``format="png"``; the options are those of the API."""

    def preview(self, task: int, path: str = "image.fits", **options: Any) -> bytes:
        """A picture of an image of a task: width, stretch, qmin, qmax, zoom, grid, ra, dec, ..."""
        return self._picture(f"tasks/{task}/preview/{quote(path)}", options)

    def cutout(self, task: int, path: str, **options: Any) -> bytes:
        """The planes of a cut-out side by side: width, quality, ..."""
        return self._picture(f"tasks/{task}/cutout/{quote(path)}", options)

    def data_preview(self, path: str, **options: Any) -> bytes:
        """A picture of an image of the data folder; the options of `preview`."""
        return self._picture(f"files/{quote(path)}/preview/", options)

    def _picture(self, path: str, options: dict[str, Any]) -> bytes:
        return self._request("GET", path, params=options).content
