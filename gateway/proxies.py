"""Whose word is taken for where a request came from?

Anybody can send ``X-Forwarded-For``. It is believed where the connection itself comes from one of
our own proxies, and of it only what these have added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from skyrelay.settings import Settings

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class BehindProxies:
    """The application, which sees the clients behind the proxies that the settings trust."""

    def __init__(self, application: _Application, settings: Settings) -> None:
        hops = settings.skyrelay_proxy_hops
        self._application = application
        self._fixed = ProxyFix(application, x_for=hops, x_proto=hops, x_host=hops)
        self._trusted = settings.skyrelay_trusted_proxies

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._trusted and self._is_trusted(environ.get("REMOTE_ADDR", "")):
            return self._fixed(environ, start_response)
        return self._application(environ, start_response)

    def _is_trusted(self, address: str) -> bool:
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._trusted)
