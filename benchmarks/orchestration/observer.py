"""How is the gateway while others keep it busy: how large, and how quick to answer?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.orchestration import processes
from benchmarks.orchestration.api import Api
from benchmarks.orchestration.relay.stages import FIRST
from skyrelay.stack.stack import Stack

#: Seconds between two looks.
PAUSE = 2.0

#: Requests of each kind before the first look, so that pools and caches are filled.
WARM_UP = 200


@dataclass(frozen=True)
class Sample:
    """One look: MiB by process, seconds by endpoint, and the number of runs that ended well."""

    phase: str
    memory: dict[str, float]
    seconds: dict[str, float]
    over: int

    def sentence(self) -> str:
        """The same in a few words."""
        sizes = ", ".join(f"{name} {self.memory[name]:.0f} MiB" for name in ("web", "events"))
        times = ", ".join(f"{name} {1000 * taken:.0f} ms" for name, taken in self.seconds.items())
        return f"{sizes}; {times}"


class Observer:
    """Looks every few seconds, in a thread; the first look is at an idle gateway."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._api = Api(stack.base_url, stack.admin_token)
        self._task = self._api.new_task()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer")
        self.phase = "filling"
        for _ in range(WARM_UP):
            self._ask()
        self.samples = [self._look()]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._api.close()

    def _watch(self) -> None:
        while not self._stopped.wait(PAUSE):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        gateway = {name: self._stack.processes[name] for name in ("web", "events")}
        seconds = self._ask()
        over = self._api.count(FIRST.state_done)
        return Sample(self.phase, processes.memory(gateway), seconds, over)

    def _ask(self) -> dict[str, float]:
        return {
            "list": _timed(lambda: self._api.get("tasks/?limit=10")),
            "queue": _timed(lambda: self._api.get("queue/")),
            "state": _timed(lambda: self._api.get(f"tasks/{self._task}/state/")),
        }


def _timed(ask: Callable[[], object]) -> float:
    begun = time.monotonic()
    ask()
    return time.monotonic() - begun
