"""How does a test put a bad network between two processes?

A TCP proxy in threads of the test. What it does to the connections through it can be changed at
any time: pass, delay, reset, refuse, or swallow everything and keep quiet about it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from skyrelay.stack.ports import LOOPBACK, free_ports

#: Seconds within which a link notices that its orders have changed.
_TICK = 0.02

#: What a client has said first is kept, so that its link can be told from others.
_REMEMBERED = 1 << 18

#: Seconds after which an end that takes no more data counts as dead.
_PATIENCE = 10.0

#: Closes with RST instead of FIN.
_LINGER_NOT = struct.pack("ii", 1, 0)


class _Link:
    """One connection through the proxy, in a thread of its own."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self.said = b""
        self.swallowing = False
        self.aborted = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        # While the proxy swallows, the server must not even learn that somebody is there.
        while self._stuck():
            time.sleep(_TICK)
        with self._client, suppress(OSError):
            if self.aborted:
                _abort(self._client)
                return
            with socket.create_connection(self._proxy.target, timeout=_PATIENCE) as server:
                self._pass(server)
                if self.aborted:
                    _abort(self._client, server)

    def _pass(self, server: socket.socket) -> None:
        other = {self._client: server, server: self._client}
        while not self.aborted:
            if self._stuck():
                time.sleep(_TICK)
                continue
            for source in select.select(list(other), [], [], _TICK)[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                if source is self._client and len(self.said) < _REMEMBERED:
                    self.said += data
                if source is self._client and self._proxy.breaks_at(data):
                    if self._proxy.answered:
                        server.sendall(data)
                        server.recv(1 << 16)
                    self.aborted = True
                    return
                if source is self._client and self._proxy.stops_at(data):
                    continue
                time.sleep(self._proxy.delay)
                other[source].sendall(data)

    def _stuck(self) -> bool:
        return (self.swallowing or self._proxy.swallowing) and not self.aborted


class Proxy:
    """Listens on a loopback port and passes what comes on to ``target`` (host and port).

    Attributes
    ----------
    delay : float
        Seconds by which everything is late, in either direction.
    swallowing : bool
        Connections, old ones and new, stay open and nothing passes: no data and no FIN.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = 0.0
        self.swallowing = False
        #: See `break_at`.
        self.answered = False
        self._fatal = b""
        self._last = b""
        (self.port,) = free_ports(1)
        self._links: list[_Link] = []
        self._lock = threading.Lock()
        self._listener = self._listen()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def uri(self, uri: str) -> str:
        """The address ``uri`` of the target, by way of the proxy."""
        parts = urlsplit(uri)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{LOOPBACK}:{self.port}"))

    def swallow(self, said: str) -> int:
        """Swallow everything on the present connections whose client has said this; how many."""
        links = [link for link in self._living() if said.encode() in link.said]
        for link in links:
            link.swallowing = True
        return len(links)

    def swallow_all(self) -> None:
        """Swallow everything, on present connections and on new ones."""
        self.swallowing = True

    def heal(self) -> None:
        """Pass everything at once again; what was swallowed meanwhile was only delayed."""
        self.delay = 0.0
        for link in self._living():
            link.swallowing = False
        self.swallowing = False

    def break_at(self, said: str, *, answered: bool) -> None:
        """Break the connection whose client says this next with RST, and only that one.

        ``answered``: the server hears it, does it, and only its answer is lost; else it hears
        nothing.
        """
        self.answered = answered
        self._fatal = said.encode()

    def breaks_at(self, data: bytes) -> bool:
        """Whether what a client has said is what `break_at` waits for; not any more then."""
        found = bool(self._fatal) and self._fatal in data
        if found:
            self._fatal = b""
        return found

    def stop_at(self, said: str) -> None:
        """Swallow everything as soon as a client says this; the server does not hear it."""
        self._last = said.encode()

    def stops_at(self, data: bytes) -> bool:
        """Whether what a client has said is what `stop_at` waits for; not any more then."""
        found = bool(self._last) and self._last in data
        if found:
            self.swallowing = True
            self._last = b""
        return found

    def reset(self) -> None:
        """Break all present connections with RST."""
        links = self._living()
        for link in links:
            link.aborted = True
        for link in links:
            link.thread.join()

    def refuse(self) -> None:
        """Break all present connections and refuse new ones."""
        self._listener.close()
        self.reset()

    def accept_again(self) -> None:
        """Take new connections after `refuse`."""
        self._listener = self._listen()

    def close(self) -> None:
        """End; all connections break."""
        self._closed = True
        self.refuse()
        self._thread.join()

    def _living(self) -> list[_Link]:
        with self._lock:
            self._links = [link for link in self._links if link.thread.is_alive()]
            return list(self._links)

    def _listen(self) -> socket.socket:
        listener = socket.create_server((LOOPBACK, self.port), backlog=50)
        listener.setblocking(False)
        return listener

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:  # Nobody has come, or we refuse.
                time.sleep(_TICK)
                continue
            client.settimeout(_PATIENCE)
            with self._lock:
                self._links.append(_Link(self, client))


def _abort(*ends: socket.socket) -> None:
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)


@contextmanager
def proxy(uri: str) -> Iterator[Proxy]:
    """A proxy before the server at this address, gone afterwards."""
    parts = urlsplit(uri)
    assert parts.hostname is not None and parts.port is not None
    made = Proxy((parts.hostname, parts.port))
    try:
        yield made
    finally:
        made.close()
