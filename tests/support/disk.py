"""How does a test get a disk that is really full?"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Enough for everything that the trial stage writes; what is written at a time to fill it.
_SIZE, _PIECE = 4 * 1024**2, 4096


class SmallDisk:
    """A file system of a few megabytes in memory, mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / ".ballast"

    def fill(self) -> None:
        """Leave no room for a single byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * _PIECE)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        """Take away what `fill` has written."""
        self._ballast.unlink()


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mounts it; the calling test is skipped where it must not mount anything."""
    path.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={_SIZE}", "skyrelay-test"]
    mounted = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a full disk needs the right to mount: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
