"""How is the one 2-D image found in a FITS file of any make?

Plain, gzipped and tile-compressed files, cubes and multi-extension files are read: the first
plane of the first extension that holds an image is taken.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Pixels
from skyrelay.imaging.fits_structure import MAX_PIXELS, check_structure
from skyrelay.imaging.repair import linearized, repaired, unwrapped

#: Smaller images hold nothing that could be measured.
MIN_SIDE = 16


@dataclass
class Image:
    """A 2-D image: pixels (float32 or float64, native byte order), header, what was repaired."""

    data: Pixels
    header: fits.Header
    repairs: list[str] = field(default_factory=list)


def read_image(path: Path, extension: int | None = None) -> Image:
    """Read the image in a FITS file, with its header repaired.

    Parameters
    ----------
    path : Path
        The file.
    extension : int, optional
        The HDU to take; the first one that holds an image if None.

    Raises
    ------
    Permanent
        If the file is no FITS file, is truncated, or holds no usable 2-D image.
    """
    if not path.exists():
        raise Permanent(f"There is no file {path.name}.")
    if path.stat().st_size == 0:
        raise Permanent(f"The file {path.name} is empty.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_structure(path)
            with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
                return _image_of(hdus, path, extension)
        except Permanent:
            raise
        except MemoryError:
            raise Permanent(f"The image in {path.name} does not fit into memory.") from None
        except EOFError:
            raise _truncated(path) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        except Exception:
            # astropy stumbles over what it reads, in ways that tell its authors more than anybody.
            raise Permanent(
                f"The file {path.name} is a broken FITS file: its header and its data contradict "
                "each other, or themselves."
            ) from None


def write_image(path: Path, data: Pixels, header: fits.Header | None = None) -> None:
    """Write a 2-D image as a plain FITS file, replacing the file that is there (never in place).

    The file appears whole: it is written beside its place and renamed.
    """
    temporary = path.with_name(f".{path.name}.new")
    hdu = fits.PrimaryHDU(data, header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdu.writeto(temporary, overwrite=True, output_verify="silentfix+ignore")
    temporary.replace(path)


def _image_of(hdus: fits.HDUList, path: Path, extension: int | None) -> Image:
    index = _first_image(hdus, path) if extension is None else extension
    if not 0 <= index < len(hdus):
        raise Permanent(f"The file {path.name} has no extension {index}.")
    hdu = hdus[index]
    shape = _shape(hdu)
    if len(shape) < 2:
        raise Permanent(f"Extension {index} of {path.name} holds no image.")
    if shape[-1] * shape[-2] > MAX_PIXELS:
        raise Permanent(f"The image in {path.name} is too large ({shape[-1]} x {shape[-2]} px).")
    if min(shape[-2:]) < MIN_SIDE:
        raise Permanent(
            f"The image in {path.name} is only {shape[-1]} x {shape[-2]} px: nothing to measure."
        )
    pixels, overflow = unwrapped(_first_plane(hdu, len(shape), path))
    data = _as_float(pixels)
    repairs = [] if index == 0 and len(shape) == 2 else [_provenance(index, shape)]
    if is_packed(path, hdu):
        repairs.append("Unpacked a compressed file")
    header, header_repairs = repaired(hdu.header, hdus[0].header if index else None)
    data, header, linear_repairs = linearized(data, header)
    return Image(data, header, repairs + overflow + header_repairs + linear_repairs)


def _first_image(hdus: fits.HDUList, path: Path) -> int:
    """Index of the first extension with an image; a 2-D one as wide as high goes first."""
    index = 0
    while True:
        try:
            hdu = hdus[index]  # Extensions are parsed one by one, as far as needed.
        except IndexError:
            raise Permanent(f"There is no 2-D image in {path.name}.") from None
        shape = _shape(hdu)
        if len(shape) >= 2 and min(shape) > 0 and min(shape[-2:]) > 1:
            return index
        index += 1


def _shape(hdu: Any) -> tuple[int, ...]:
    """Shape of the image in an HDU; empty for tables and for headers alone."""
    return tuple(hdu.shape) if getattr(hdu, "is_image", False) else ()


def _first_plane(hdu: Any, dimensions: int, path: Path) -> Pixels:
    try:
        if dimensions == 2:
            return np.asarray(hdu.data)
        return np.asarray(hdu.section[(0,) * (dimensions - 2)])
    except (TypeError, ValueError) as error:
        if "buffer" in str(error) or "reshape" in str(error):
            raise _truncated(path) from None
        raise


def _as_float(data: Pixels) -> Pixels:
    """Native floating point: single precision unless the file has more."""
    single = data.dtype.itemsize <= (4 if data.dtype.kind == "f" else 2)
    kind = np.float32 if single else np.float64
    return np.ascontiguousarray(data, dtype=kind)


def is_packed(path: Path, hdu: Any) -> bool:
    """Whether the file, or this part of it, has to be unpacked to be read."""
    with path.open("rb") as file:
        return isinstance(hdu, fits.CompImageHDU) or file.read(6) != b"SIMPLE"


def _provenance(index: int, shape: tuple[int, ...]) -> str:
    plane = "" if len(shape) == 2 else f", the first plane of {' x '.join(map(str, shape[:-2]))}"
    return f"Took extension {index}{plane}"


def _truncated(path: Path) -> Permanent:
    return Permanent(f"The file {path.name} is truncated: it ends before its image does.")


def _unreadable(path: Path, error: OSError) -> Permanent:
    text = str(error)
    if "SIMPLE" in text or "FITS" in text or "block" in text:
        return Permanent(f"The file {path.name} is not a FITS file.")
    return Permanent(f"The file {path.name} cannot be read ({_short(error)}).")


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
