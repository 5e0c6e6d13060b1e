"""How does a benchmark say how far it is, and how is it ended?"""

from __future__ import annotations

from types import FrameType

from rich.console import Console

_console = Console(highlight=False, soft_wrap=True, stderr=True)


def say(sentence: str) -> None:
    """Tell how far it is, beside the figures."""
    _console.print(f"==> {sentence}", markup=False)


def as_interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends it as Ctrl-C does, and stops all that was started."""
    raise KeyboardInterrupt
