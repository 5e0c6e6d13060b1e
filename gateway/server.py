"""How is the web application served?"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from gateway import observation
from gateway.app import create_app
from gateway.core import Gateway, open_gateway
from gateway.current import parts_of
from gateway.request_limits import HEADER_SIZE, HEADERS, REQUEST_LINE
from skyrelay import exposition
from skyrelay.settings import Settings
from skyrelay.stage.guard import die_with_parent

#: Seconds that requests in flight may take when the server is stopped.
_GRACE = 30
#: Asked every few seconds by supervisors; of interest only when the answer is bad.
_HEALTH = ("/healthz", "/readyz", exposition.PATH)


class _Logger(Logger):
    """gunicorn's lines are like all others; of a request there is one, when it is answered."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn, which would have handlers of its own."""
        self.cfg = cfg
        for log in (self.error_log, self.access_log):
            log.propagate = True

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Called by gunicorn: no addresses, no agents, nothing of what was asked for."""
        status = int(str(resp.status).partition(" ")[0])
        if environ.get("PATH_INFO") in _HEALTH and status == 200:
            return
        found = {
            "method": environ.get("REQUEST_METHOD"),
            "path": str(environ.get("RAW_URI")).partition("?")[0],
            "status": status,
            "bytes": resp.sent,
            "milliseconds": round(1000 * request_time.total_seconds()),
        }
        self.access_log.info("answered", extra=found | dict(environ.get(observation.ABOUT, {})))


class WebServer(BaseApplication):
    """gunicorn with a few processes of a few threads, each with its publisher of messages."""

    def __init__(self, settings: Settings, bind: str) -> None:
        self._settings = settings
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        options: dict[str, Any] = {
            "bind": [self._bind],
            "workers": self._settings.skyrelay_web_workers,
            "threads": self._settings.skyrelay_web_threads,
            "worker_class": "gateway.worker.Worker",
            "limit_request_line": REQUEST_LINE,
            "limit_request_fields": HEADERS,
            "limit_request_field_size": HEADER_SIZE,
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
            "graceful_timeout": _GRACE,
            "timeout": 60,
            "keepalive": 30,
            "accesslog": "-",
            "logger_class": _Logger,
            "post_fork": _end_with_the_server,
            "post_worker_init": _get_ready,
            "worker_exit": _stop_publishing,
            "proc_name": "skyrelay-gateway",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Called by gunicorn in each of its processes, after the fork."""
        gateway = open_gateway(self._settings)
        observation.begin(self._settings, "web")
        gateway.outbox.start()
        self.gateway = gateway
        return create_app(gateway)


def _end_with_the_server(server: Any, _: Any) -> None:
    """Called by gunicorn in each of its processes: orphans would keep the port from the next."""
    die_with_parent(server.pid)


def _get_ready(worker: Any) -> None:
    """Called by gunicorn in each of its processes when it has its application."""
    parts = parts_of(worker.wsgi)
    parts.feed.serving = lambda: bool(worker.alive)  # A stream must not outlive it for long.
    parts.renderers.warm()


def _stop_publishing(_: Any, worker: Any) -> None:
    """Called by gunicorn when one of its processes ends: send what has just been decided."""
    gateway: Gateway | None = getattr(worker.app, "gateway", None)
    if gateway is not None:
        parts = parts_of(worker.wsgi)
        parts.feed.stop()
        parts.renderers.stop()
        gateway.close()
        observation.end()


def serve_web(settings: Settings, bind: str) -> None:
    """Serve until SIGTERM or SIGINT.

    `exposition.FOLDER_VARIABLE` names an empty folder: it is read when the first figure is made.
    """
    WebServer(settings, bind).run()
