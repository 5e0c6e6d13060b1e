"""How is the process of the follow-ups kept alive by that of the events?"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from gateway.followups import observation
from skyrelay import exposition

_log = logging.getLogger(__name__)

#: Seconds between two looks, before it is started again, and that it may take to end.
_LOOK, _RESTART, _GRACE = 0.5, 1.0, 10.0


class FollowUpsProcess:
    """The process as its parent sees it: started, and started again, until told to stop."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="followups", daemon=True)

    def start(self) -> None:
        """Start it, and look after it in a thread of this process."""
        self._thread.start()

    def begin_to_stop(self) -> None:
        """Have it end, without waiting for that; safe in signal handlers."""
        self._stopped.set()

    def stop(self) -> None:
        """End it; what it is at is done again by the next one."""
        self.begin_to_stop()
        self._thread.join()

    def _keep_alive(self) -> None:
        # The child dies with the thread that has started it, and this one lives as long as we do.
        while not self._stopped.is_set():
            try:
                child = subprocess.Popen(
                    [sys.executable, "-m", "gateway", "followups", "--parent", str(os.getpid())]
                )
            except OSError as error:
                # The machine may be short of processes or memory just now.
                _log.error("the process of the follow-ups cannot be started: %s", error)
                self._stopped.wait(_RESTART)
                continue
            while child.poll() is None and not self._stopped.wait(_LOOK):
                pass
            if self._stopped.is_set():
                _end(child)
                return
            observation.DEATHS.inc()
            exposition.forget(child.pid)
            _log.error("the process of the follow-ups has ended with %s", child.returncode)
            self._stopped.wait(_RESTART)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
