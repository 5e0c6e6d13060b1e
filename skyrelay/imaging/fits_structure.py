"""Is it safe to have the headers of a file read?

The standard allows up to 999 axes, and as many columns. A header that is broken there may promise
any number, and astropy would count to it, which takes all memory and all time. So the headers are
looked through before, as far as they lead from one to the next.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from skyrelay.errors import Permanent

#: Images with more pixels do not fit the memory of a worker (1 GB as float32).
MAX_PIXELS = 2**28

_BLOCK = 2880
_EXTENSION = b"XTENSION="
#: Among the numbers of a header: that it has an end.
_END = "END"
_CARD = 80
#: More blocks than this are no header.
_MOST_BLOCKS = 2000
#: More extensions than this are not looked at; the image is among the first.
_MOST_HEADERS = 1000
#: The standard's limit for NAXIS and TFIELDS.
_MOST = 999
#: Bytes of data of a packed file, after all of its headers together. A few kilobytes may promise,
#: and unpack to, any number; who has more to say has more than the memory of a worker.
_MOST_UNPACKED = 16 * 1024**3
#: Bytes of it that are unpacked only to see which headers come after them.
_MOST_SKIPPED = 512 * 1024**2
#: Bytes of an archive's file, which astropy has in memory as a whole.
_MOST_OF_ARCHIVE = 2 * 1024**3
#: How a packed file begins, and what unpacks it a piece at a time.
_PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ARCHIVE = b"PK\x03\x04"
#: What they raise for damaged files, and for archives with a password or of an unknown method,
#: beside an OSError without a number.
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
_NUMBER = re.compile(rb"^= *([+-]?\d+) *(?:/.*)?$")


def check_structure(path: Path) -> None:
    """Refuse a file that promises more axes or columns than there can be.

    Raises
    ------
    Permanent
        If it does, or if it unpacks to more than a worker could hold. What else may be wrong
        with the file is for its reader to say.
    OSError
        If it cannot be read at all.
    """
    try:
        with _unpacked(path) as (stream, packed):
            total = 0
            for header in _headers(stream):
                for keyword in ("NAXIS", "TFIELDS"):
                    number = header.get(keyword, 0)
                    if not 0 <= number <= _MOST:
                        raise Permanent(
                            f"The file {path.name} is a broken FITS file: {keyword} is {number}."
                        )
                total = total + _size(header) if packed else _size(header)
                if total > max(_MOST_UNPACKED, 0 if packed else path.stat().st_size):
                    raise Permanent(
                        f"The file {path.name} is too large, or truncated: a header promises more "
                        f"than {_MOST_UNPACKED // 1024**3} GiB."
                    )
    except _DAMAGED:
        return
    except OSError as error:
        if error.errno is not None:
            raise


def raw_headers(path: Path, most: int) -> tuple[list[bytes], bool]:
    """The headers of a file as they stand, and whether these are all that there is.

    What comes after ``most`` bytes of headers, after something that is broken, or far into a packed
    file, is left out.

    Raises
    ------
    OSError
        If it cannot be read at all.
    """
    found: list[bytes] = []
    try:
        with _unpacked(path) as (stream, packed):
            return found, _collect(found, stream, most, _MOST_SKIPPED if packed else math.inf)
    except _DAMAGED:
        return found, False
    except OSError as error:
        if error.errno is not None:
            raise
        return found, False


class _Recorder:
    """A stream of which is remembered what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.read_so_far = bytearray()

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self.read_so_far += block
        return block


def _collect(found: list[bytes], stream: IO[bytes], most: int, most_skipped: float) -> bool:
    """Put the headers into the list; whether all of them are there."""
    expected = b"SIMPLE  ="
    while True:
        recorder = _Recorder(stream)
        header = _header(cast(IO[bytes], recorder)) or {}
        raw = bytes(recorder.read_so_far)
        if not raw.startswith(expected):
            return True
        most -= len(raw)
        if most < 0 or len(found) >= _MOST_HEADERS:
            return False
        found.append(raw)
        if _END not in header or not 0 <= header.get("NAXIS", 0) <= _MOST:
            return False
        size = _size(header)
        skipped = math.ceil(size / _BLOCK) * _BLOCK
        most_skipped -= skipped
        if size < 0 or most_skipped < 0:
            return False
        stream.seek(skipped, 1)
        expected = _EXTENSION


def is_complete(path: Path) -> bool:
    """Whether all is there that the file's headers promise; the last block need not be full.

    Raises
    ------
    OSError
        If it cannot be read at all.
    """
    try:
        with _unpacked(path) as (stream, packed):
            return _is_whole(stream, packed)
    except _DAMAGED:
        return False
    except OSError as error:
        if error.errno is not None:
            raise
        return False


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """The content of the file, and whether it was packed."""
    with path.open("rb") as file:
        start = file.read(max(map(len, (*_PACKED, _ARCHIVE))))
    if start.startswith(_ARCHIVE):
        with zipfile.ZipFile(path) as archive:
            first = next(iter(archive.infolist()), None)
            if first is None:
                raise zipfile.BadZipFile("there is nothing in it")
            if first.file_size > _MOST_OF_ARCHIVE:
                raise Permanent(
                    f"The file {path.name} is too large: it unpacks to more than "
                    f"{_MOST_OF_ARCHIVE // 1024**3} GiB."
                )
            with archive.open(first) as stream:
                yield stream, True
        return
    opener = next((each for magic, each in _PACKED.items() if start.startswith(magic)), None)
    with opener(path) if opener else path.open("rb") as stream:
        yield cast(IO[bytes], stream), opener is not None


def _is_whole(stream: IO[bytes], packed: bool) -> bool:
    expected = b"SIMPLE  ="
    while stream.read(len(expected)) == expected:
        stream.seek(-len(expected), 1)
        header = _header(stream) or {}
        size, start = _size(header), stream.tell()
        if _END not in header or size < 0:
            return False
        if size > _MOST_UNPACKED and packed:
            return True  # Its reader will refuse it, at once.
        if size:
            stream.seek(start + size - 1)
            if not stream.read(1):
                return False
        stream.seek(start + math.ceil(size / _BLOCK) * _BLOCK)
        expected = _EXTENSION
    return expected == _EXTENSION


def _headers(stream: IO[bytes]) -> Iterator[dict[str, int]]:
    """Whole numbers in each of the headers, one after the other."""
    for _ in range(_MOST_HEADERS):
        header = _header(stream)
        if header is None:
            return
        yield header
        size = _size(header)
        if size < 0:
            return
        stream.seek(math.ceil(size / _BLOCK) * _BLOCK, 1)


def _header(stream: IO[bytes]) -> dict[str, int] | None:
    """Whole numbers in the header that begins here; None if none ends."""
    found: dict[str, int] = {}
    for _ in range(_MOST_BLOCKS):
        block = stream.read(_BLOCK)
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == b"END":
                return found | {_END: len(found)}
            match = _NUMBER.match(card[8:])
            if match and len(match[1]) < 30:
                found[card[:8].rstrip().decode("latin-1")] = int(match[1])
        if len(block) < _BLOCK:
            break
    # Broken as it is, what it promises is believed by who reads it all the same.
    return found or None


def _size(header: dict[str, int]) -> int:
    """Bytes of data after the header; negative if that makes no sense."""
    axes = [header.get(f"NAXIS{number}", 0) for number in range(1, header.get("NAXIS", 0) + 1)]
    if not axes:
        return 0
    if min(axes) < 0 or header.get("GCOUNT", 1) < 0:
        return -1
    count = math.prod(axes) + header.get("PCOUNT", 0)
    size = abs(header.get("BITPIX", 8)) // 8 * header.get("GCOUNT", 1) * count
    return size if size < 2**62 else -1
