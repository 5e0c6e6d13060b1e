"""How does what a program says, that a library starts, get into the stage's log?"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: File descriptors of standard output and standard error.
_OUTPUTS = (1, 2)


@contextmanager
def told_to(log: Callable[..., object], temporary: Path) -> Iterator[None]:
    """Hand on to ``log``, line by line, what programs started inside write to their outputs."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile(dir=temporary) as heard:
        before = [os.dup(output) for output in _OUTPUTS]
        try:
            for output in _OUTPUTS:
                os.dup2(heard.fileno(), output)
            yield
        finally:
            for output, saved in zip(_OUTPUTS, before, strict=True):
                os.dup2(saved, output)
                os.close(saved)
            heard.seek(0)
            for line in heard.read().decode(errors="replace").splitlines():
                log(line)
