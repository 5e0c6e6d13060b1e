"""How does one replica of a stage service live, from its start to its last acknowledgement?

``python -m skyrelay.stage.replica services.inspect.service``
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

_log = logging.getLogger("skyrelay.stage.replica")

#: Green threads for handlers. A message that is delivered again while we work on it waits in one,
#: so there must be more of them than slots.
SPARE_HANDLERS = 100

#: Threads that look for addresses: one for each connection of a replica, and some.
RESOLVERS = 4


def main() -> int:
    """Run the service in the module named on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m skyrelay.stage.replica services.<name>.service", file=sys.stderr)
        return 2
    # Before anything that opens a socket is imported. Names are few here, and the system's
    # resolver knows them; eventlet's own does not read all that it should.
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()
    resolve_names_in_a_thread()
    from skyrelay import logs
    from skyrelay.settings import get_settings

    logs.configure(get_settings())
    return Replica(_service_in(sys.argv[1])).run()


def resolve_names_in_a_thread() -> None:
    """Let nothing else stand still while the system looks for the address of a name.

    It may look for half a minute: for the broker's, say, while its container is away.
    """
    import atexit
    import socket

    from eventlet import tpool

    # It waits for the threads at the end of the process. Nobody needs their answers any more, and
    # what else is done in them is waited for by who does it.
    atexit.unregister(tpool.killall)
    tpool.set_num_threads(RESOLVERS)
    socket.getaddrinfo = partial(tpool.execute, socket.getaddrinfo)


def _service_in(name: str) -> type[Any]:
    """The one nameko service in the module ``name``."""
    # The registry imports the modules of additional stages. Were one of them imported first, by
    # its service, it would import the registry, and the registry it, half made as it is.
    importlib.import_module("skyrelay.stages")
    module = importlib.import_module(name)
    found = [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and hasattr(thing, "name") and thing.__module__ == name
    ]
    if len(found) != 1:
        raise SystemExit(f"{name} has {len(found)} services; it must have exactly one.")
    return found[0]


class Replica:
    """One nameko container with its health and its end."""

    def __init__(self, service: type[Any]) -> None:
        from nameko.containers import ServiceContainer

        from skyrelay.settings import get_settings
        from skyrelay.stage.consumer import CommandQueueConsumer
        from skyrelay.stage.runner import StageRunner

        self._settings = get_settings()
        self._container = ServiceContainer(
            service,
            {
                "AMQP_URI": self._settings.amqp_uri,
                "HEARTBEAT": self._settings.skyrelay_heartbeat,
                "max_workers": self._settings.skyrelay_slots + SPARE_HANDLERS,
                "SETTINGS": self._settings,
            },
        )
        extensions = list(self._container.extensions)
        self._consumer = next(e for e in extensions if isinstance(e, CommandQueueConsumer))
        self._runner = next(e for e in extensions if isinstance(e, StageRunner))
        self._signals = 0

    def run(self) -> int:
        """Start, work until SIGTERM or SIGINT, drain; the process's exit code."""
        import eventlet

        from skyrelay.stage import observation
        from skyrelay.stage.runner import Why

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: eventlet.spawn(self._drain))
        settings = self._settings
        name, reasons = self._container.service_name, tuple(Why)
        observation.begin(settings, name, lambda: self._runner.in_hand, reasons)
        if settings.skyrelay_health_port:
            eventlet.spawn(
                _serve_health,
                settings.skyrelay_health_host,
                settings.skyrelay_health_port,
                {"/livez": self.life, "/healthz": self.health, "/readyz": self.readiness},
            )
        _log.info(
            "replica starts",
            extra={"service": self._container.service_name, "slots": settings.skyrelay_slots},
        )
        self._container.start()
        try:
            self._container.wait()
        except Exception:
            _log.exception("the replica ends because of an error")
            return 1
        finally:
            observation.end()
        _log.info("replica ended")
        return 0

    def life(self) -> Mapping[str, bool]:
        """What a restart would mend if it were not true; it does not bring a broker back."""
        return {
            "consumer awake": not self._consumer.stuck,
            "listener to kills awake": not self._runner.kills.stuck,
            "workers alive": self._runner.pool.healthy,
        }

    def health(self) -> Mapping[str, bool]:
        """What must be true of a replica that is well."""
        return {
            "consuming": self._consumer.consuming or self._consumer.draining or not self._warm,
            "hearing kills": self._runner.kills.listening,
            "workers alive": self._runner.pool.healthy,
        }

    def readiness(self) -> Mapping[str, bool]:
        """What must be true of a replica that takes the next message."""
        return {
            **self.health(),
            "warm": self._warm,
            "taking messages": self._consumer.consuming and not self._consumer.draining,
        }

    @property
    def _warm(self) -> bool:
        return bool(self._runner.pool.warm)

    def _drain(self) -> None:
        """End well: finish what is in hand within the grace, hand the rest back.

        A second signal means that the grace is over.
        """
        import eventlet

        self._signals += 1
        if self._signals > 1:
            self._runner.hand_back()
            return
        _log.info("draining", extra={"in_hand": self._runner.in_hand})
        timer = eventlet.spawn_after(self._settings.skyrelay_drain_grace, self._runner.hand_back)
        self._container.stop()
        timer.cancel()


def _serve_health(host: str, port: int, checks: Mapping[str, Any]) -> None:
    from skyrelay.stage import health

    try:
        health.serve(host, port, checks)
    except OSError as error:
        _log.error("no health page on port %d: %s", port, error)


if __name__ == "__main__":
    sys.exit(main())
