"""How is an address that a user has named called, without reaching what only we can reach?

The name is resolved once, every address it has is looked at, and the connection is made to one of
those that were looked at, not to what the name may mean a moment later. Nobody is followed
elsewhere: an answer that redirects is an answer.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO
from urllib.parse import SplitResult, urlsplit

from skyrelay.addresses import Address, is_public

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Seconds to connect and for each word of the answer, and for all of an answer that is not kept.
_PATIENCE, _ALTOGETHER = 10.0, 20.0
#: Statuses of 4xx that leave hope.
LATER = (408, 425, 429)
#: Bytes of an answer that are in memory at once.
_CHUNK = 1024 * 1024


class CallFailed(Exception):
    """The address was not reached, or must not be: says why.

    ``final``: to try it again is no use.
    """

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


@dataclass(frozen=True)
class Caller:
    """Calls addresses outside; and of those inside, the ones in the networks ``allowed``."""

    allowed: Sequence[Network]

    @classmethod
    def of(cls, networks: str) -> Caller:
        """The caller for networks in a text, separated by commas."""
        return cls(
            [ipaddress.ip_network(each.strip()) for each in networks.split(",") if each.strip()]
        )

    def check(self, url: str) -> None:
        """Refuse an address that could never be called, as far as its text shows it.

        Raises
        ------
        CallFailed
            If it is none of the web, or that of a machine that must not be called.
        """
        parts = _parts(url)
        with suppress(ValueError):
            self._check_address(ipaddress.ip_address(str(parts.hostname)))

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send ``body`` there; the status of the answer, whose content nobody reads.

        Raises
        ------
        CallFailed
            If there is no answer, or the address must not be called.
        """
        with self._answer("POST", url, body, headers) as answer:
            return answer.status

    def fetch(self, url: str, target: IO[bytes], most: int, seconds: float) -> None:
        """Write what is there, of at most ``most`` bytes, to ``target``, in so many seconds.

        Raises
        ------
        CallFailed
            If it is not there in good time, is too large, or must not be fetched.
        """
        with self._answer("GET", url, None, {"User-Agent": "Skyrelay"}, seconds) as answer:
            if answer.status != http.client.OK:
                final = 300 <= answer.status < 500 and answer.status not in LATER
                raise CallFailed(f"it answered {answer.status}", final=final)
            left = most
            while chunk := answer.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise CallFailed(f"it is larger than {most} bytes", final=True)
                target.write(chunk)
            if answer.length:
                raise CallFailed("it broke off")

    @contextmanager
    def _answer(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float = _ALTOGETHER,
    ) -> Iterator[http.client.HTTPResponse]:
        parts = _parts(url)
        host = str(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            connection = self._connected(parts.scheme, host, port)
        except OSError as error:
            raise CallFailed(f"no connection to {host}: {error}") from error
        # A peer that says a word now and then must not keep us for ever.
        watch = threading.Timer(seconds, _shut_down, [connection])
        watch.start()
        try:
            target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            connection.request(method, target, body, dict(headers))
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(f"no answer: {error or type(error).__name__}") from error
        finally:
            watch.cancel()
            connection.close()

    def _connected(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        for address in addresses:
            self._check_address(address)
        connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        plain = socket.create_connection((str(addresses[0]), port), _PATIENCE)
        try:
            if scheme == "https":
                context = ssl.create_default_context()
                connection.sock = context.wrap_socket(plain, server_hostname=host)
            else:
                connection.sock = plain
        except BaseException:
            plain.close()
            raise
        return connection

    def _check_address(self, address: Address) -> None:
        if any(address in network for network in self.allowed):
            return
        if not is_public(address):
            raise CallFailed(f"{address} is no public address", final=True)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise CallFailed(f"it cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CallFailed("it must begin with http:// or https:// and name a host")
    if parts.username or parts.password:
        raise CallFailed("it must not hold a user name or password")
    if not url.isprintable() or " " in url or not url.isascii():
        raise CallFailed("it must consist of plain characters")
    return parts


def _shut_down(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
