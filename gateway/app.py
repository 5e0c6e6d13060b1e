"""How is the web application put together?"""

from __future__ import annotations

import threading
from typing import IO, NoReturn

from flask import Flask, Request, request
from flask.globals import request_ctx
from flask.sessions import SecureCookieSessionInterface
from flask.wrappers import Response
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.wsgi import FileWrapper

from gateway import current, health, landing, observation
from gateway.api import api, errors, openid
from gateway.api.body import FILES_REFUSED
from gateway.api.errors import detail
from gateway.api.serializers import task_state
from gateway.core import Gateway
from gateway.feed import Feed
from gateway.openapi import pages
from gateway.preview.renderers import Renderers
from gateway.proxies import BehindProxies


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
        return current.gateway().store.incoming()


class _SeekableFile(FileWrapper):
    """A file that is sent; gunicorn looks for its attributes when all of it is."""

    def __init__(self, file: IO[bytes], buffer_size: int = 8192) -> None:
        super().__init__(file, buffer_size)
        self.filelike = file
        self.blksize = buffer_size


class _Sessions(SecureCookieSessionInterface):
    """What is kept in a cookie while somebody is at the OpenID provider."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def get_cookie_samesite(self, app: Flask) -> str:
        return "Lax"


class _App(Flask):
    request_class = _Request

    def raise_routing_exception(self, request: Request) -> NoReturn:
        """Called by Flask where no route has taken the request.

        Of the routes that it takes without their final slash, werkzeug tells no methods.
        """
        adapter = request_ctx.url_adapter
        if isinstance(request.routing_exception, NotFound) and adapter is not None:
            methods = adapter.allowed_methods(f"{request.path}/")
            if list(methods):
                raise MethodNotAllowed(methods)
        super().raise_routing_exception(request)


def create_app(gateway: Gateway) -> Flask:
    """The application that serves this gateway."""
    app = _App(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = gateway.settings.skyrelay_max_upload
    app.session_interface = _Sessions()
    app.secret_key = gateway.settings.secret_key
    current.install(app, _parts(gateway))
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    errors.install(app)
    app.register_blueprint(api)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(landing.blueprint)
    openid.install(app, gateway.settings)
    pages.install(app)
    observation.install(app)
    app.before_request(_let_ranges_seek)
    app.after_request(_harden)
    app.wsgi_app = BehindProxies(app.wsgi_app, gateway.settings)  # type: ignore[method-assign]
    return app


def _let_ranges_seek() -> None:
    # Through the wrapper of the web server, which cannot seek, all before the range would be read.
    if "Range" in request.headers:
        request.environ["wsgi.file_wrapper"] = _SeekableFile


def _harden(response: Response) -> Response:
    # What users upload must never be taken for a page of ours.
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def _parts(gateway: Gateway) -> current.Parts:
    settings = gateway.settings
    # The threads that are left answer whoever neither watches nor waits: those who ask for our
    # health, too.
    feed = Feed(gateway.database, task_state, max(1, settings.skyrelay_web_threads // 2))
    room = threading.BoundedSemaphore(max(1, settings.skyrelay_web_threads // 3))
    renderers = Renderers(settings.skyrelay_renderers, settings.skyrelay_renderer_memory, room)
    return current.Parts(gateway, feed, room, renderers)
