"""By which software, and into what exactly, was a product made?"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from skyrelay.records import Product
from skyrelay.store.attempt import RESERVED_PREFIX

#: Packages on whose versions the figures depend.
_PACKAGES = (
    *("skyrelay", "stdpipe", "astropy", "numpy", "scipy", "photutils", "sep-x", "statsmodels"),
    *("reproject", "astroscrappy", "astroalign", "astroquery", "scikit-image", "scikit-learn"),
    *("pyerfa", "astropy-iers-data", "pyarrow", "mocpy", "cdshealpix"),
)


@lru_cache(maxsize=1)
def software() -> dict[str, str]:
    """Versions of Python and of the packages with which a stage works here."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def products_in(folder: Path) -> dict[str, Product]:
    """Size and checksum of what is new in the folder, by path.

    What was there before has a second name, in the version before: see `files.clone_tree`.
    """
    return {
        path: Product(size=os.stat(folder / path).st_size, sha256=_checksum(folder / path))
        for path in sorted(_new_files(folder))
    }


def _new_files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(RESERVED_PREFIX)]
        for name in names:
            path = os.path.join(place, name)
            plain = not os.path.islink(path) and not name.startswith(RESERVED_PREFIX)
            if plain and os.stat(path).st_nlink == 1:
                yield os.path.relpath(path, folder)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
