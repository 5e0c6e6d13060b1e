"""What becomes of all that a worker's science, and the programs it starts, print?

Lines of the replica's log, about the attempt that the worker has in hand: also the last ones,
before it died. The worker's own log does not come this way.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import eventlet
from eventlet.green import os as green

from skyrelay import logs
from skyrelay.messages import RunStage

_log = logging.getLogger(__name__)

#: Bytes that are read at once, and of a line that are kept.
_CHUNK, _LONGEST = 65536, 2000


class Output:
    """The end of a worker's standard output and error that the replica has.

    Attributes
    ----------
    about : RunStage or None
        The command that the worker was given last.
    """

    def __init__(self) -> None:
        self.about: RunStage | None = None

    @contextmanager
    def taken(self) -> Iterator[tuple[int, int]]:
        """Start the worker inside: descriptors for all that it prints, and for its log."""
        ours, theirs = os.pipe()
        log = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        os.set_blocking(ours, False)
        eventlet.spawn(self._listen, ours)
        try:
            yield theirs, log
        finally:
            os.close(theirs)
            os.close(log)

    def _listen(self, descriptor: int) -> None:
        """Until nobody is left who could print."""
        unread = b""
        while chunk := green.read(descriptor, _CHUNK):
            *lines, unread = (unread + chunk).split(b"\n")
            for line in lines:
                self._say(line)
            if len(unread) > _CHUNK:
                self._say(unread)
                unread = b""
        self._say(unread)
        os.close(descriptor)

    def _say(self, line: bytes) -> None:
        if text := line[:_LONGEST].decode("utf-8", errors="replace").strip():
            with logs.about(self.about):
                _log.info("printed", extra={"text": text})
