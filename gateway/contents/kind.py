"""Of which kind is a file, going by its content?"""

from __future__ import annotations

import mimetypes
from pathlib import Path

FITS, PARQUET, VOTABLE, TEXT = (
    "application/fits",
    "application/vnd.apache.parquet",
    "application/x-votable+xml",
    "text/plain",
)
#: How files of a kind begin.
_BEGINNINGS = (
    (b"SIMPLE  =", FITS),
    (b"PAR1", PARQUET),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"PK\x03\x04", "application/zip"),
)
#: Names of FITS files that are packed.
_PACKED_FITS = (".fits.gz", ".fit.gz", ".fts.gz", ".fits.bz2", ".fits.xz", ".fits.zip")
#: Bytes that are looked at.
_LOOKED_AT = 4096


def kind_of(path: Path) -> str:
    """The media type of a file; a packed FITS file counts as FITS."""
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    for beginning, kind in _BEGINNINGS:
        if start.startswith(beginning):
            return FITS if path.name.lower().endswith(_PACKED_FITS) else kind
    if b"<VOTABLE" in start:
        return VOTABLE
    guessed = mimetypes.guess_type(path.name)[0]
    if _is_text(start):
        return guessed if guessed and guessed.startswith("text/") else TEXT
    # What is no text is none of the kinds whose beginning is known.
    return "application/octet-stream"


def _is_text(start: bytes) -> bool:
    if b"\x00" in start:
        return False
    try:
        start.decode()
    except UnicodeDecodeError as error:
        # The last character may have been cut.
        return error.start > len(start) - 4 and len(start) == _LOOKED_AT
    return True
