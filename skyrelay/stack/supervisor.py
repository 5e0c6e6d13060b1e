"""What happens to a server that dies: who notices, who starts it again, and how soon?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from skyrelay.stack.process import GuardedProcess

#: Seconds before the first restart; doubled for each further death in a row.
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0

#: A server that has lived this long is taken to be well: its next death counts as its first.
STEADY_SECONDS = 60.0


class Server(Protocol):
    """Something that runs until it is stopped, and can be started again after that."""

    @property
    def pid(self) -> int | None:
        """Its process id, None while it is down."""

    def start(self) -> None: ...

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code once nothing of it is left; None if that takes longer than `seconds`."""

    def stop(self, grace: float) -> None: ...

    def kill(self) -> None: ...


@dataclass
class Command:
    """A server that is a command; each start is a new process with the same arguments."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    folder: Path | None = None
    _process: GuardedProcess | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.running else None

    def start(self) -> None:
        self._process = GuardedProcess(
            self.command, log=self.log, environment=self.environment, folder=self.folder
        )

    def wait(self, seconds: float | None = None) -> int | None:
        return self._process.wait(seconds) if self._process else None

    def stop(self, grace: float) -> None:
        if self._process:
            self._process.stop(grace)

    def kill(self) -> None:
        if self._process:
            self._process.kill()


class Supervised:
    """A server that is started again whenever it ends by itself.

    Parameters
    ----------
    name : str
        What to call it when something is said about it.
    server : Server
        The server, not started yet.
    say : callable
        Takes a sentence when the server has died.
    changed : callable
        Called after each restart: process ids are others now.

    Attributes
    ----------
    deaths : int
        How often it has ended by itself.
    """

    def __init__(
        self,
        name: str,
        server: Server,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.server = server
        self.deaths = 0
        self._say = say
        self._changed = changed
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)

    def start(self) -> None:
        """Start the server for the first time; its failure to start is the caller's."""
        self.server.start()
        self._watcher.start()

    def stop(self, grace: float) -> None:
        """Stop the server for good, killing what is left after `grace` seconds."""
        self._stopping.set()
        self.server.stop(grace)
        if self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        delay = FIRST_DELAY
        while True:
            started = time.monotonic()
            code = self.server.wait()
            if self._stopping.is_set():
                return
            self.deaths += 1
            if time.monotonic() - started > STEADY_SECONDS:
                delay = FIRST_DELAY
            self._say(f"{self.name} ended ({_cause(code)}); starting it again in {delay:g} s.")
            if self._stopping.wait(delay):
                return
            delay = min(2 * delay, LONGEST_DELAY)
            try:
                self.server.start()
            except RuntimeError as error:
                self._say(f"{self.name} cannot be started: {error}")
                continue
            if self._stopping.is_set():
                self.server.kill()
                return
            self._changed()


def _cause(code: int | None) -> str:
    if code is None:
        return "it never started"
    return f"signal {code - 128}" if code > 128 else f"exit code {code}"
