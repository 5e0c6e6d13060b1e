"""How does a program start, follow and stop what is done with a task?"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from skyrelay.client.answers import Run, Started, TaskState
from skyrelay.client.errors import ServerAway, StillRunning
from skyrelay.client.transport import Transport, translated


class ProcessingCalls(Transport):
    """Runs of tasks."""

    def process(
        self,
        task: int,
        steps: Sequence[str],
        config: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
    ) -> Started:
        """Begin a run of these steps; ``config`` is merged into the task's.

        Runs of a higher ``priority`` (-10 to 10) overtake others that wait.
        """
        body = {"steps": list(steps), "config": dict(config or {}), "priority": priority}
        return Started.model_validate(self._json("POST", f"tasks/{task}/process/", json=body))

    def fix(self, task: int) -> None:
        """Have the task's image written anew as a plain file with a clean header."""
        self._change(task, "fix")

    def crop(self, task: int, **box: int) -> None:
        """Keep a part of the task's image: x1, y1, x2, y2, each of which may be left out."""
        self._change(task, "crop", **box)

    def destripe(self, task: int, direction: str = "both") -> None:
        """Remove horizontal or vertical stripes, or both, from the task's image."""
        self._change(task, "destripe", direction=direction)

    def _change(self, task: int, how: str, **parameters: Any) -> None:
        answer = self._json("POST", f"tasks/{task}/{how}/", json=parameters)
        if answer["status"] == "running":
            raise StillRunning(f"The task {task} is still being processed.")

    def state(self, task: int) -> TaskState:
        """Where the task stands."""
        return TaskState.model_validate(self._json("GET", f"tasks/{task}/state/"))

    def follow(self, task: int) -> Generator[TaskState]:
        """The task's state now, and whenever it changes, until the task is deleted.

        Ends, too, when the server ends the stream, as it does now and then: call it again. Who
        leaves it before its end closes it, or its connection stays open.
        """
        return self._stream(f"tasks/{task}/events/", until_gone=True)

    def follow_all(self) -> Generator[TaskState]:
        """The states of all our tasks, whenever one changes; ends as `follow` does."""
        return self._stream("events/", until_gone=False)

    def _stream(self, path: str, *, until_gone: bool) -> Generator[TaskState]:
        headers = {"Accept": "text/event-stream"}
        with self._response("GET", path, headers=headers, stream=True) as response:
            kind = ""
            with translated():
                for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: ") and kind == "state":
                        yield TaskState.model_validate_json(line.removeprefix("data: "))
                    elif kind == "gone" and until_gone:
                        return

    def runs(self, task: int) -> list[Run]:
        """The runs of the task, newest first, with stages, attempts and measured values."""
        return [Run.model_validate(item) for item in self._json("GET", f"tasks/{task}/runs/")]

    def cancel(self, task: int) -> int:
        """Stop the task's run; the number of its stages that were not finished."""
        return int(self._json("POST", f"tasks/{task}/cancel/")["revoked_count"])

    def wait(
        self,
        task: int,
        *,
        timeout: float | None = None,
        on_progress: Callable[[TaskState], None] | None = None,
        interval: float = 0.5,
        patience: float = 60.0,
    ) -> TaskState:
        """Wait until the task's run has ended, however it ended; see ``failed`` and ``error``.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to give up with `StillRunning`.
        on_progress : callable, optional
            Called with each state that differs from the one before.
        interval : float
            Seconds between two looks.
        patience : float
            Seconds for which a server that is away is waited for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        heard = time.monotonic()
        last: TaskState | None = None
        while True:
            try:
                state = self.state(task)
                heard = time.monotonic()
            except ServerAway:
                if time.monotonic() - heard > patience:
                    raise
            else:
                if on_progress is not None and state != last:
                    on_progress(state)
                last = state
                if not state.running:
                    return state
            if deadline is not None and time.monotonic() > deadline:
                raise StillRunning(f"Task {task} is still being processed after {timeout:g} s.")
            time.sleep(interval)
