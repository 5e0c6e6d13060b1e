"""Does a mirror that sends us on get us to call machines that only we can reach?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skyrelay.errors import Retriable
from skyrelay.sky import vizier
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Remote
from tests.sky.conftest import SPEC
from tests.sky.server import SkyServer

CONE = Cone(SPEC.ra, SPEC.dec, 0.03)


@contextmanager
def _mirror(target: str) -> Iterator[tuple[str, list[str]]]:
    """A server that sends everybody on to ``target``; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = _do

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/start", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("host", ["the sky server", "169.254.169.254", "[::ffff:10.0.0.1]"])
def test_nobody_is_followed_to_a_private_address(
    ask: Callable[..., Remote], server: SkyServer, log: list[str], host: str
) -> None:
    target = server.url("vizier") if host == "the sky server" else f"http://{host}/latest"
    with _mirror(target) as (url, asked):
        with pytest.raises(Retriable, match="not public"):
            vizier.entries_in(ask(skyrelay_vizier_urls=url), "ps1", CONE)
    assert asked
    assert server.count()["vizier"] == 0
    assert any("not public" in line for line in log)


def test_a_mirror_may_send_us_on_within_itself(ask: Callable[..., Remote]) -> None:
    with _mirror("/elsewhere") as (url, asked):
        with pytest.raises(Retriable):
            vizier.entries_in(ask(skyrelay_vizier_urls=url), "ps1", CONE)
    assert "/elsewhere" in asked
