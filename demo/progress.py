"""How is a run shown while it goes on, on a terminal and in a log?"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from skyrelay.client import TaskState


class ProgressLine:
    """A bar on a terminal; elsewhere a line for each new thing that is being done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._last = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("queued", total=1.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, state: TaskState) -> None:
        """Take notice of the task's state."""
        text = f"{state.state}: {state.doing}" if state.doing else state.state
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=state.progress or 0.0, description=text)
        elif text != self._last:
            elapsed = time.monotonic() - self._started
            percent = "" if state.progress is None else f" {state.progress:4.0%}"
            self._console.print(f"    {elapsed:6.1f} s{percent}  {text}", markup=False)
        self._last = text
