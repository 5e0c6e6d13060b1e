"""Which planes does the file of a cut-out have?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyrelay.errors import Permanent
from skyrelay.imaging.fits_structure import check_structure

#: More pixels along a side, more planes, or more extensions before them, are no cut-out.
_MOST_PIXELS, _MOST_PLANES, _MOST_EXTENSIONS = 2000, 16, 100


class NoCutout(ValueError):
    """The file is no cut-out; the message says why, in a sentence."""


@dataclass(frozen=True)
class Planes:
    """A cut-out: the header of its file, and its planes by their names in small letters."""

    header: Any
    hdus: dict[str, Any]


@contextmanager
def opened_planes(path: Path) -> Iterator[Planes]:
    """The planes of a cut-out, whose pixels are read when they are asked for, in this context.

    Raises
    ------
    NoCutout
        If the file is none, or cannot be read.
    """
    from astropy.io import fits  # Takes most of a second, and few processes need it.

    try:
        check_structure(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
                yield Planes(hdus[0].header, _planes(hdus))
    except Permanent as error:
        raise NoCutout(str(error)) from error
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        if isinstance(error, NoCutout):
            raise
        raise NoCutout(
            f"{path.name} cannot be read as a cut-out: it is none, or it is damaged."
        ) from error


def _planes(hdus: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index in range(_MOST_EXTENSIONS):
        try:
            hdu = hdus[index]
        except IndexError:
            break
        if _is_plane(hdu):
            found.setdefault(str(hdu.name).lower(), hdu)
        if len(found) == _MOST_PLANES:
            break
    return found


def _is_plane(hdu: Any) -> bool:
    if not hdu.is_image or len(hdu.shape) != 2:
        return False
    return bool(min(hdu.shape) > 0 and max(hdu.shape) <= _MOST_PIXELS)
