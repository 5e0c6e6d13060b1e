"""How is an image looked at without reading it whole each time?

Beside the file there are smaller versions of it, each half the size of the one before, as plain
arrays that are mapped into memory, and a sample of its pixels to choose the stretch by. They lie
in a folder named by what the file is; the folder appears whole, by rename.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from gateway.preview.jobs import Unviewable
from skyrelay.errors import Permanent
from skyrelay.imaging.fits_structure import check_structure

Pixels = NDArray[np.float32]

#: A version with fewer pixels along its longer side needs no smaller one.
_SMALL = 512
#: More pixels are not looked at.
_MOST_PIXELS = 1 << 30
#: Rows that are read at once.
_STRIP = 256
#: Pixels of the sample: enough for the percentiles of an image.
_SAMPLE = 200_000


@dataclass(frozen=True)
class Levels:
    """An image with its smaller versions; ``shrunk[0]`` is half its size."""

    header: fits.Header
    shape: tuple[int, int]
    sample: Pixels
    shrunk: tuple[Pixels, ...]
    hdu: Any

    def read(self, level: int, y: slice, x: slice) -> Pixels:
        """A part of the image (level 0) or of a smaller version."""
        if level == 0:
            return _section(self.hdu, self.shape, y, x)
        return np.asarray(self.shrunk[level - 1][y, x])


def identity(path: Path) -> str:
    """What tells this content of the file from all others."""
    status = path.stat()
    parts = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    return "-".join(map(str, parts))


@contextmanager
def opened(cache: Path, limit: float, path: Path, ext: int) -> Iterator[Levels]:
    """The image of a file, with its smaller versions from the cache of ``limit`` bytes.

    Raises
    ------
    Unviewable
        If the file has no such image, or cannot be read.
    """
    try:
        check_structure(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
                hdu = _image_of(hdus, ext)
                yield _levels(cache, limit, f"{identity(path)}-{ext}", hdu)
    except Permanent as error:
        raise Unviewable(str(error)) from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise Unviewable(
            f"{path.name} cannot be read as a FITS image: it is none, or it is damaged."
        ) from error


def _image_of(hdus: fits.HDUList, ext: int) -> Any:
    if ext >= 0:
        if ext >= len(hdus):
            raise Unviewable(f"The file has no extension {ext}; the last is {len(hdus) - 1}.")
        found = [hdus[ext]]
    else:
        found = list(hdus)[::-1]
    for hdu in found:
        if hdu.is_image and len(hdu.shape) >= 2 and min(hdu.shape) > 0:
            return hdu
    raise Unviewable("There is no image in the file, or in this extension.")


def _levels(cache: Path, limit: float, name: str, hdu: Any) -> Levels:
    shape = (int(hdu.shape[-2]), int(hdu.shape[-1]))
    if shape[0] * shape[1] > _MOST_PIXELS:
        raise Unviewable(f"An image of {shape[1]}x{shape[0]} pixels is too large to be shown.")
    home = cache / hashlib.sha256(name.encode()).hexdigest()[:32]
    if not home.is_dir():
        _make(cache, home, hdu, shape)
        sweep(cache, limit)
    os.utime(home)
    count = len(list(home.glob("level-*.npy")))
    shrunk = tuple(np.load(home / f"level-{index}.npy", mmap_mode="r") for index in range(count))
    return Levels(hdu.header, shape, np.load(home / "sample.npy"), shrunk, hdu)


def _make(cache: Path, home: Path, hdu: Any, shape: tuple[int, int]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
    try:
        every = max(1, int(np.sqrt(shape[0] * shape[1] / _SAMPLE)))
        sample: list[Pixels] = []
        read: Callable[[slice], Pixels] = partial(_all_columns, hdu, shape)
        size, index = shape, 0
        while index == 0 or max(size) > _SMALL:
            half = (-(-size[0] // 2), -(-size[1] // 2))
            target = open_memmap(
                scratch / f"level-{index}.npy", mode="w+", dtype=np.float32, shape=half
            )
            for start in range(0, size[0], _STRIP):
                strip = read(slice(start, min(start + _STRIP, size[0])))
                if index == 0:
                    offset = -start % every
                    sample.append(strip[offset::every, ::every].ravel())
                target[start // 2 : (start + _STRIP) // 2] = _halved(strip)
            read, size, index = partial(_rows, target), half, index + 1
        finite = np.concatenate(sample)
        finite = np.sort(finite[np.isfinite(finite)])
        np.save(scratch / "sample.npy", finite)
        with suppress(FileExistsError, OSError):  # Another process was quicker.
            scratch.rename(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _all_columns(hdu: Any, shape: tuple[int, int], y: slice) -> Pixels:
    return _section(hdu, shape, y, slice(0, shape[1]))


def _rows(array: Pixels, y: slice) -> Pixels:
    return np.asarray(array[y])


def _halved(strip: Pixels) -> Pixels:
    """Means of 2x2 pixels; of those that are numbers."""
    rows, columns = strip.shape[0] % 2, strip.shape[1] % 2
    if rows or columns:
        strip = np.pad(strip, ((0, rows), (0, columns)), mode="edge")
    corners = np.stack([strip[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        mean = corners.mean(axis=0)
        bad = ~np.isfinite(mean)
        if bad.any():
            mean[bad] = np.nanmean(corners[:, bad], axis=0)
    return np.asarray(mean, np.float32)


def _section(hdu: Any, shape: tuple[int, int], y: slice, x: slice) -> Pixels:
    """A part of the first plane, read without the rest where the file allows it."""
    first = (0,) * (len(hdu.shape) - 2)
    # Whole rows lie together in the file; of parts of rows, each would be read by itself.
    part = np.asarray(hdu.section[(*first, y, slice(0, shape[1]))], np.float32)
    return part.reshape(y.stop - y.start, shape[1])[:, x]


def sweep(cache: Path, limit: float) -> None:
    """Remove what was not used for the longest time, until what is left fits."""
    found = []
    for home in cache.iterdir():
        with suppress(OSError):
            size = sum(file.stat().st_size for file in home.iterdir())
            found.append((home.stat().st_mtime, size, home))
    total = sum(size for _, size, _ in found)
    for _, size, home in sorted(found):
        if total <= limit:
            break
        shutil.rmtree(home, ignore_errors=True)
        total -= size
