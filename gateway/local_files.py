"""How does a file of the data folder become the image of a task?"""

from __future__ import annotations

import lzma
import shutil
import struct
import zlib
from pathlib import Path
from typing import IO

from skyrelay.errors import Permanent
from skyrelay.imaging.fits_structure import check_structure
from skyrelay.store.files import is_full


class NoSuchExtension(ValueError):
    """The file has no image in that extension."""


def find(data_path: Path, relative: str) -> Path:
    """The file of this name in the data folder.

    Raises
    ------
    FileNotFoundError
        If there is none, or the path leads out of the folder.
    """
    root = data_path.resolve()
    try:
        path = (root / relative).resolve()
        # A name that is too long is an error here, and not before.
        found = path.is_relative_to(root) and path.is_file()
    except (OSError, ValueError) as error:
        raise FileNotFoundError(relative) from error
    if not found:
        raise FileNotFoundError(relative)
    return path


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
    from astropy.io import fits  # Takes most of a second, and few requests need it.

    # What astropy, and what it unpacks with, raise for a damaged file.
    damaged: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)
    damaged += (ValueError, TypeError, KeyError, AttributeError, struct.error, fits.VerifyError)
    try:
        check_structure(source)
        with fits.open(source, memmap=True) as content:
            hdu = content[ext]
            if not hdu.is_image or hdu.data is None:
                raise NoSuchExtension(f"extension {ext} of {source.name} holds no image")
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
        raise NoSuchExtension(f"cannot read extension {ext} of {source.name}: {error}") from error
