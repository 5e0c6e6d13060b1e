"""Which files may become tasks, and what tells one from another that comes later under its name?"""

from __future__ import annotations

import os

#: What is taken to be a FITS file, by the end of its name.
SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fit.fz")


def is_fits(name: str) -> bool:
    """Whether a file of this name is taken to be FITS. Hidden ones are somebody's parts."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def fingerprint(status: os.stat_result) -> str:
    """What changes when the file is written anew, or replaced."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
