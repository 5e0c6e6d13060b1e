"""How does a test change what an earlier stage has left, without changing it for other tests?"""

from __future__ import annotations

import shutil
from pathlib import Path


def copied(folder: Path, target: Path) -> Path:
    """A copy of a task's folder as ``target/task``."""
    return Path(shutil.copytree(folder, target / "task"))
