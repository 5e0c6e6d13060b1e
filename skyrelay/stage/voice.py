"""How does a worker speak to its replica, from its science and from its pulse at once?"""

from __future__ import annotations

import os
import socket
import threading
import time

from skyrelay.messages import RunStage
from skyrelay.stage.answers import Alive, Answer, Broken, Noted, Progressed, Ready, Started

#: Least seconds between two lines about progress.
PROGRESS_PAUSE = 0.3

#: Seconds between two signs of life while a command is in hand, at the most.
PULSE = 10.0

#: Time for the guard to act when the replica is gone; it needs a few milliseconds.
SECONDS_FOR_THE_GUARD = 10.0


class Voice:
    """Says lines about the command in hand; nothing more of it once its answer was given.

    Parameters
    ----------
    channel : socket
        To the replica.
    silence : float
        Seconds after which a replica gives up a worker of which it hears nothing.
    """

    def __init__(self, channel: socket.socket, silence: float) -> None:
        self._channel = channel
        self._speaking = threading.Lock()
        self._about: RunStage | None = None
        self._last_progress = 0.0
        self._pause = min(PULSE, silence / 4)

    def ready(self, guard: int) -> None:
        """Say that the worker is warm; its signs of life begin."""
        self._send(Ready(guard=guard).to_line())
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()

    def take(self, command: RunStage) -> None:
        """From now on everything is said about this command."""
        with self._speaking:
            self._about = command

    def tell(self, line: Started | Progressed | Noted) -> None:
        """Say how the work goes on; of fast progress only a part."""
        now = time.monotonic()
        if isinstance(line, Progressed):
            if now - self._last_progress < PROGRESS_PAUSE:
                return
            self._last_progress = now
        with self._speaking:
            self._send(line.to_line(self._about))

    def answer(self, line: Answer | Broken) -> None:
        """Say how the work has ended."""
        with self._speaking:
            self._send(line.to_line(self._about))
            self._about = None

    def _pulse(self) -> None:
        while True:
            time.sleep(self._pause)
            with self._speaking:
                if self._about is not None:
                    self._send(Alive().to_line(self._about))

    def _send(self, line: bytes) -> None:
        try:
            self._channel.sendall(line)
        except OSError:
            # The replica is gone: nothing may be published, and the guard is about to end us.
            time.sleep(SECONDS_FOR_THE_GUARD)
            os._exit(1)
