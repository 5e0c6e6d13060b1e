"""The process that does what follows: indexing, announcements, webhooks, analyses, intake.

It is a child of the process of the events and ends with it. Its work takes processor time and
memory that the chain of stages must not wait for; if it dies, it is started again, and goes on
with what the database says is still to be done.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

from gateway import observation
from gateway.core import Gateway
from gateway.followups import analyses, images, indexing, webhooks
from gateway.followups import observation as followups
from gateway.followups.announcing import Announcer
from gateway.followups.intake import looking, taking
from gateway.idempotency import forget_answers
from gateway.measurements.index import sweep

_log = logging.getLogger(__name__)

#: Seconds between two looks of those who have found nothing to do.
_LOOK = 0.5
#: Seconds that duties in hand may take to be done, all together; else the next process does them.
#: Database or broker may have gone mute, and our parent does not wait for ever.
_GRACE = 5.0
#: Seconds between two rounds of tidying up.
_TIDY = 30.0


def serve_followups(gateway: Gateway) -> None:
    """Do all duties until SIGTERM or SIGINT."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    observation.begin(gateway.settings, "followups")
    announcer = Announcer(gateway)
    loops: list[tuple[str, Callable[[], bool], float]] = [
        ("index", partial(indexing.index, gateway), _LOOK),
        ("announce", announcer.announce, _LOOK),
        ("spread", partial(webhooks.spread, gateway), _LOOK),
        ("deliver", partial(webhooks.deliver, gateway), _LOOK),
        ("fetch", partial(images.fetch, gateway), _LOOK),
        ("compose", partial(analyses.compose, gateway), _LOOK),
        ("answer", partial(analyses.deliver, gateway), _LOOK),
        ("look", partial(looking.look, gateway), gateway.settings.skyrelay_watch_interval),
        ("take", partial(taking.take, gateway), _LOOK),
        ("tidy", partial(_tidy, gateway), _TIDY),
    ]
    followups.begin(name for name, _, _ in loops)
    threads = [
        threading.Thread(target=_repeat, args=(name, work, pause, stopped), name=name, daemon=True)
        for name, work, pause in loops
    ]
    for thread in threads:
        thread.start()
    stopped.wait()
    end = time.monotonic() + _GRACE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if not any(thread.is_alive() for thread in threads):
        announcer.close()
    observation.end()


def _tidy(gateway: Gateway) -> bool:
    sweep(gateway)
    webhooks.forget_old(gateway)
    analyses.forget_old(gateway)
    forget_answers(gateway)
    taking.try_again(gateway)
    return False


def _repeat(name: str, work: Callable[[], bool], pause: float, stopped: threading.Event) -> None:
    """Do ``work`` again and again, at once where it has found something to do."""
    while not stopped.is_set():
        try:
            busy = work()
        except Exception:
            # The next round begins anew; what it was about is still in the database.
            _log.exception("%s was interrupted", name)
            followups.INTERRUPTED.labels(name).inc()
            busy = False
        if not busy:
            stopped.wait(pause)
