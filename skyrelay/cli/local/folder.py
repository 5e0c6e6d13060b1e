"""Where does the work on an image of the command line lie, and what is remembered there?

In a folder beside the image that is named after it, as the folder of a task: ``image.fits``, the
products, and the configuration in ``.config``, which is taken up the next time. Who works in such a
folder already, and gives its ``image.fits``, stays in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from skyrelay.errors import Permanent
from skyrelay.parameters import ParameterError, validate
from skyrelay.products import FRINGE_MODEL, IMAGE, IMAGE_ORIGINAL
from skyrelay.store import files

_CONFIG = ".config"
#: Which file the image was copied from, and how that one looked then.
_SOURCE = ".source"
_SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|fz|bz2))?$", re.IGNORECASE)
#: Added to the name of a folder in which images were stacked.
_STACK = "_stack"


def folder_for(image: Path, base: Path | None, *, stack: bool = False) -> Path:
    """The folder in which the image is worked on; under ``base`` instead of beside the image."""
    image = Path(os.path.abspath(image))
    if image.name == IMAGE and base is None and not stack:
        return image.parent
    name = _SUFFIX.sub("", image.name) + (_STACK if stack else "")
    folder = Path(os.path.abspath(base or image.parent)) / name
    # A file without a suffix has the very name that its folder would have.
    return folder.with_name(f"{name}.skyrelay") if folder.is_file() else folder


class WorkFolder:
    """The folder of one image."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, image: Path | None) -> None:
        """Make the folder, with the image in it unless that is to be made there.

        An image that has changed since it was copied is copied again.

        Raises
        ------
        Permanent
            If it cannot be written or the image cannot be read.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if image is not None and image.absolute() != self.path / IMAGE:
                self._bring(image)
        except OSError as error:
            raise Permanent(f"{error.filename}: {error.strerror}.") from error

    def add(self, name: str, source: Path) -> None:
        """Put a copy of a file into the folder under this name."""
        target = self.path / name
        if not (target.exists() and target.samefile(source)):
            _copy(source, target)

    def read_config(self) -> dict[str, Any]:
        """The configuration after the last stage here; empty the first time.

        Raises
        ------
        Permanent
            If somebody has made it unreadable.
        """
        path = self.path / _CONFIG
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return validate(content).config
        except FileNotFoundError:
            return {}
        except ParameterError as error:
            raise Permanent(f"In {path}: {error}.") from None
        except (OSError, ValueError, AttributeError):
            raise Permanent(
                f"The configuration in {path} cannot be read: mend or remove it."
            ) from None

    def write_config(self, config: dict[str, Any]) -> None:
        """Remember the configuration."""
        data = json.dumps(config, indent=1, default=str) + "\n"
        files.write_atomically(self.path / _CONFIG, data.encode())

    def _bring(self, image: Path) -> None:
        status = image.stat()
        now = {"path": str(image.absolute()), "size": status.st_size, "time": status.st_mtime_ns}
        mark = self.path / _SOURCE
        if (self.path / IMAGE).exists() and mark.exists():
            try:
                if json.loads(mark.read_text(encoding="utf-8")) == now:
                    return
            except ValueError:
                pass  # Then nobody knows what the image is; it is brought anew.
        _copy(image, self.path / IMAGE)
        for name in (IMAGE_ORIGINAL, FRINGE_MODEL):
            files.remove(self.path / name)
        files.write_atomically(mark, json.dumps(now).encode())


def _copy(source: Path, target: Path) -> None:
    """A copy that appears whole, and is not another name of a file that its owner may change."""
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
