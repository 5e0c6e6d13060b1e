"""The process that hears what the stages say, and keeps the house clean."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from http.server import ThreadingHTTPServer

from gateway import backlog, events_health, observation
from gateway.core import Gateway
from gateway.followups.supervision import FollowUpsProcess
from gateway.orchestration import janitor, watchdog
from gateway.orchestration.advance import record
from skyrelay.broker.consumer import EventConsumer, News

_log = logging.getLogger(__name__)

#: Seconds that the rounds may take to end, all together: the database may be away, too, and what
#: they are at is begun anew by the next process.
_GRACE = 5.0


def serve_events(gateway: Gateway) -> None:
    """Record events and advance runs until SIGTERM or SIGINT."""
    consumer = EventConsumer(
        gateway.settings.amqp_uri,
        lambda batch: _record(gateway, batch),
        heartbeat=gateway.settings.skyrelay_heartbeat,
    )
    stopped = threading.Event()
    followups = FollowUpsProcess()

    def stop(*_: object) -> None:
        stopped.set()
        followups.begin_to_stop()
        consumer.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    observation.begin(gateway.settings, "events")
    backlog.watch(gateway)
    gateway.outbox.start()
    followups.start()
    health = _serve_health(gateway, consumer)
    helpers = [
        _repeat(janitor.clean_up, gateway, janitor.ROUND, stopped),
        _repeat(janitor.drop_orphans, gateway, janitor.ORPHANS_ROUND, stopped),
        _repeat(janitor.empty_trash, gateway, janitor.TRASH_ROUND, stopped),
        _repeat(watchdog.look_after, gateway, watchdog.ROUND, stopped),
    ]
    _log.info("listening to the stages")
    try:
        consumer.run()
    finally:
        stop()
        end = time.monotonic() + _GRACE
        for helper in helpers:
            helper.join(max(0.0, end - time.monotonic()))
        followups.stop()
        if health is not None:
            health.shutdown()
            health.server_close()
        observation.end()


def _record(gateway: Gateway, batch: Sequence[News]) -> None:
    record(gateway, batch)
    observation.recorded(batch)


def _serve_health(gateway: Gateway, consumer: EventConsumer) -> ThreadingHTTPServer | None:
    settings = gateway.settings
    if not settings.skyrelay_health_port:
        return None

    def life() -> dict[str, bool]:
        return {"consumer awake": not consumer.is_stuck()}

    def health() -> dict[str, bool]:
        return {"consuming": consumer.is_consuming()}

    def readiness() -> dict[str, bool]:
        return {
            **health(),
            "database": gateway.database.answers(),
            "publishing": gateway.outbox.connected,
        }

    return events_health.serve(
        settings.skyrelay_health_host,
        settings.skyrelay_health_port,
        {"/livez": life, "/healthz": health, "/readyz": readiness},
    )


def _repeat(
    work: Callable[[Gateway], None], gateway: Gateway, seconds: float, stopped: threading.Event
) -> threading.Thread:
    """Do ``work`` every so many seconds, in a thread, until told to stop."""

    def run() -> None:
        while not stopped.wait(seconds):
            try:
                work(gateway)
            except Exception:
                # Its next round begins anew; nothing depends on this one.
                _log.exception("%s was interrupted", work.__module__)

    thread = threading.Thread(target=run, name=work.__name__, daemon=True)
    thread.start()
    return thread
