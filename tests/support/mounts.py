"""How does a test take the file system of the tasks away, and bring it back?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: What a process that began before the mount has made in its place, when processes still did.
LEFT_BEHIND = (".versions", ".runs", ".locks", ".trash", ".incoming")


@contextmanager
def unmounted(root: Path, left: Sequence[str] = ()) -> Iterator[None]:
    """Inside, ``root`` is a mount point on which nothing is mounted, with these folders in it."""
    elsewhere = root.with_name(f"{root.name}-elsewhere")
    root.rename(elsewhere)
    for name in ("", *left):
        (root / name).mkdir()
    try:
        yield
    finally:
        shutil.rmtree(root)
        elsewhere.rename(root)
