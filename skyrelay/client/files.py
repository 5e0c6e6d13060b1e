"""How does a program list, fetch, bring and remove the files of a task?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from skyrelay.client.answers import FileEntry
from skyrelay.client.transport import CHUNK, Transport, translated


class FileCalls(Transport):
    """Files of tasks."""

    def files(self, task: int) -> list[FileEntry]:
        """What is at the top level of the task's folder."""
        return [
            FileEntry.model_validate(item) for item in self._json("GET", f"tasks/{task}/files/")
        ]

    def upload(self, task: int, file: str | os.PathLike[str], path: str | None = None) -> int:
        """Store a file of ours under ``path`` (default: its name); its size in bytes."""
        source = Path(file)
        answer = self._upload(self._file(task, path or source.name), source, {})
        return int(answer["size"])

    def download(self, task: int, path: str, target: str | os.PathLike[str]) -> Path:
        """Fetch a file of the task into the file, or folder, ``target``; where it is now."""
        place = Path(target)
        if place.is_dir():
            place = place / Path(path).name
        partial = place.with_name(f".{place.name}.part")
        with self._response("GET", self._file(task, path), stream=True) as response:
            with translated(), partial.open("wb") as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
        partial.replace(place)
        return place

    def read(self, task: int, path: str) -> bytes:
        """The content of a file of the task."""
        return self._request("GET", self._file(task, path)).content

    def info(self, task: int, path: str, *, rows: int = 100, columns: int = 100) -> dict[str, Any]:
        """What a file is: its kind, the headers of a FITS file, the first rows of a table."""
        shown = {"rows": rows, "columns": columns}
        return dict(self._json("GET", f"tasks/{task}/info/{quote(path)}", params=shown))

    def data_info(self, path: str, *, rows: int = 100, columns: int = 100) -> dict[str, Any]:
        """The same of a file of the data folder."""
        shown = {"rows": rows, "columns": columns}
        return dict(self._json("GET", f"files/{quote(path)}/info/", params=shown))

    def read_table(self, task: int, path: str, form: str = "votable") -> bytes:
        """A table of the task, VOTable or Parquet, as votable, csv or parquet."""
        query = {"format": form}
        return self._request("GET", f"tasks/{task}/table/{quote(path)}", params=query).content

    def mask(self, task: int, of: str = "image") -> dict[str, Any]:
        """The rectangles by which the image, or the template, is masked."""
        return dict(self._json("GET", f"tasks/{task}/mask/{of}/"))

    def draw_mask(
        self,
        task: int,
        areas: Sequence[Mapping[str, float]],
        of: str = "image",
        *,
        inverted: bool = False,
        width: float | None = None,
        inspect: bool = True,
    ) -> dict[str, Any]:
        """Use of the image, or of the template, only some rectangles; of none, all of it.

        Parameters
        ----------
        areas : list of dict
            x, y, width and height, in pixels of a picture from its upper left corner.
        inverted : bool
            Use all but the rectangles.
        width : float, optional
            Width of the picture; that of the image, if not given.
        inspect : bool
            Inspect the image again, so that the mask counts.
        """
        body = {"areas": list(areas), "inverted": inverted, "inspect": inspect}
        body |= {} if width is None else {"width": width}
        return dict(self._json("POST", f"tasks/{task}/mask/{of}/", json=body))

    def delete_file(self, task: int, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        self._request("DELETE", self._file(task, path))

    def data_files(self, folder: str = "", order: str = "name") -> list[FileEntry]:
        """What is in the data folder, or a folder below it, whose files tasks may be made of.

        ``order``: name, modified or size, with a minus before it the other way round.
        """
        found = self._json("GET", f"files/{quote(folder)}", params={"order": order})
        return [FileEntry.model_validate(each) for each in found]

    def read_data(self, path: str) -> bytes:
        """The content of a file of the data folder."""
        return self._request("GET", f"files/{quote(path)}").content

    def _file(self, task: int, path: str) -> str:
        return f"tasks/{task}/files/{quote(path)}"
