"""How does a file of the data folder become the image of a task?"""

from __future__ import annotations

import lzma
import math
import shutil
import stat
import struct
import zlib
from pathlib import Path
from typing import IO

from skyrelay.errors import Permanent
from skyrelay.imaging.fits_structure import MAX_PIXELS, check_structure
from skyrelay.settings import Settings
from skyrelay.store.files import is_full


class NoSuchExtension(ValueError):
    """The file has no image in that extension."""


def find(settings: Settings, relative: str) -> Path:
    """The file of this name in the data folder.

    Raises
    ------
    FileNotFoundError
        If there is none, or the path leads out of the folder.
    """
    path = find_any(settings, relative)
    if not path.is_file():
        raise FileNotFoundError(relative)
    return path


def find_any(settings: Settings, relative: str) -> Path:
    """The file or folder of this name in the data folder; names that begin with a dot are hidden.

    Raises
    ------
    FileNotFoundError
        If there is none, or the path leads out of the folder.
    """
    root = settings.data_path.resolve()
    try:
        path = (root / relative).resolve()
        status = path.stat()
    except (OSError, ValueError, RuntimeError) as error:
        raise FileNotFoundError(relative) from error
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    # Tasks may lie in the data folder; whose they are is asked elsewhere.
    if not plain or not path.is_relative_to(root) or _is_of_tasks(settings, path):
        raise FileNotFoundError(relative)
    if any(part.startswith(".") for part in path.relative_to(root).parts):
        raise FileNotFoundError(relative)
    return path


def _is_of_tasks(settings: Settings, path: Path) -> bool:
    return path.is_relative_to(settings.tasks_path.resolve())


def copy(source: Path, target: IO[bytes]) -> None:
    """Copy the whole file."""
    with source.open("rb") as file:
        shutil.copyfileobj(file, target, 1024 * 1024)


def copy_extension(source: Path, ext: int, target: IO[bytes]) -> None:
    """Write one extension of a FITS file as a file of its own.

    Raises
    ------
    NoSuchExtension
        If the file cannot be read, or has no image there: says so.
    """
    # Takes most of a second, and few requests need it.
    from astropy.io import fits

    from skyrelay.imaging.fits import is_packed

    # What astropy, and what it unpacks with, raise for a damaged file.
    damaged: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)
    damaged += (ValueError, TypeError, KeyError, AttributeError, struct.error, fits.VerifyError)
    try:
        check_structure(source)
        with fits.open(source, memmap=True) as content:
            hdu = content[ext]
            if not hdu.is_image or not hdu.shape:
                raise NoSuchExtension(f"extension {ext} of {source.name} holds no image")
            # It would be unpacked as a whole, in the memory of who answers everybody.
            if math.prod(hdu.shape) > MAX_PIXELS and is_packed(source, hdu):
                raise NoSuchExtension(f"extension {ext} of {source.name} is too large to unpack")
            fits.PrimaryHDU(hdu.data, hdu.header).writeto(target, output_verify="silentfix+ignore")
    except NoSuchExtension:
        raise
    except Permanent as error:
        raise NoSuchExtension(str(error)) from error
    except IndexError as error:
        raise NoSuchExtension(f"{source.name} has no extension {ext}") from error
    except damaged as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise NoSuchExtension(
            f"extension {ext} of {source.name} cannot be read: "
            "the file is no FITS file, or it is damaged"
        ) from error
