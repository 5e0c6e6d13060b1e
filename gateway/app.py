"""How is the web application put together?"""

from __future__ import annotations

from typing import IO

from flask import Flask, Request, current_app
from flask.wrappers import Response

from gateway import health, landing
from gateway.api import api, errors
from gateway.api.body import FILES_REFUSED
from gateway.api.errors import detail
from gateway.api.serializers import task_state
from gateway.core import Gateway
from gateway.feed import FEED, Feed
from gateway.openapi import pages


class _Request(Request):
    """Uploads go straight to the file system of the task store, where they become files."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.environ.get(FILES_REFUSED):
            raise detail(400, "No file is taken here.")
        gateway: Gateway = current_app.extensions["skyrelay"]
        return gateway.store.incoming()


class _App(Flask):
    request_class = _Request


def create_app(gateway: Gateway) -> Flask:
    """The application that serves this gateway."""
    app = _App(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = gateway.settings.skyrelay_max_upload
    app.secret_key = gateway.settings.secret_key
    app.extensions["skyrelay"] = gateway
    # The other half of the threads answers whoever does not watch.
    most = max(1, gateway.settings.skyrelay_web_threads // 2)
    app.extensions[FEED] = Feed(gateway.database, task_state, most)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    errors.install(app)
    app.register_blueprint(api)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(landing.blueprint)
    pages.install(app)
    app.after_request(_harden)
    return app


def _harden(response: Response) -> Response:
    # What users upload must never be taken for a page of ours.
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response
