"""The process that does what follows: indexing, announcements, webhooks, the intake of files.

It is a child of the process of the events and ends with it. Its work takes processor time and
memory that the chain of stages must not wait for; if it dies, it is started again, and goes on
with what the database says is still to be done.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

from gateway.core import Gateway
from gateway.followups import announcing, indexing, intake, webhooks
from gateway.measurements.index import sweep
from skyrelay.stage.guard import die_with_parent

_log = logging.getLogger(__name__)

#: Seconds between two looks of those who have found nothing to do.
_LOOK = 0.5
#: Seconds between two rounds of tidying up.
_TIDY = 30.0


def serve_followups(gateway: Gateway, parent: int) -> None:
    """Do all duties until SIGTERM or SIGINT, or until the parent process ends."""
    die_with_parent(parent)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    loops: list[tuple[Callable[[Gateway], bool], float]] = [
        (indexing.index, _LOOK),
        (announcing.announce, _LOOK),
        (webhooks.spread, _LOOK),
        (webhooks.deliver, _LOOK),
        (intake.look, gateway.settings.skyrelay_watch_interval),
        (intake.take, _LOOK),
        (_tidy, _TIDY),
    ]
    threads = [
        threading.Thread(target=_repeat, args=(work, gateway, pause, stopped), name=work.__name__)
        for work, pause in loops
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _tidy(gateway: Gateway) -> bool:
    sweep(gateway)
    webhooks.forget_old(gateway)
    intake.forget_answers(gateway)
    return False


def _repeat(
    work: Callable[[Gateway], bool], gateway: Gateway, pause: float, stopped: threading.Event
) -> None:
    """Do ``work`` again and again, at once where it has found something to do."""
    while not stopped.is_set():
        try:
            busy = work(gateway)
        except Exception:
            # The next round begins anew; what it was about is still in the database.
            _log.exception("%s was interrupted", work.__name__)
            busy = False
        if not busy:
            stopped.wait(pause)
