"""How does a test get an S3 server of its own?

moto's server from PyPI, in a process of its own: real HTTP, multipart uploads, presigned addresses
and conditional writes. One thread answers all requests, so that a condition is looked at and the
object written without anybody between, as S3 promises it; moto alone does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import requests
from werkzeug.serving import WSGIRequestHandler, run_simple

from skyrelay import episodes
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import wait_until

PROJECT = Path(__file__).resolve().parents[2]
BUCKET = "skyrelay"
#: Tells the server of how many of the next requests it must refuse with SlowDown.
_BUSY = "/-busy-"
#: Tells the server by how many seconds every object must look older than it is.
_AGED = "/-aged-"


@dataclass(frozen=True)
class S3Server:
    """A server that runs."""

    address: str
    certificates: Path | None = None

    @property
    def authority(self) -> str | bool:
        """Whom a client of it has to trust, as requests and boto3 are told so."""
        return str(self.certificates / "ca.crt") if self.certificates else True

    def environment(self, address: str = "") -> dict[str, str]:
        """What a client of it needs, at another address if it goes through a proxy."""
        return {
            "AWS_ENDPOINT_URL": address or self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": LOOPBACK,
        }

    def client(self) -> Any:
        """A client past everything that a test does to the store's own."""
        names = {"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_DEFAULT_REGION": "region_name"}
        names["AWS_SECRET_ACCESS_KEY"] = "aws_secret_access_key"
        values = self.environment()
        keys = {ours: values[theirs] for theirs, ours in names.items()}
        return boto3.session.Session().client(
            "s3", endpoint_url=self.address, verify=self.authority, **keys
        )

    def be_busy(self, requests_refused: int) -> None:
        """Answer so many of the next requests with 503 SlowDown."""
        requests.post(f"{self.address}{_BUSY}/{requests_refused}", timeout=60)

    def let_look_aged(self, seconds: int) -> None:
        """Let every object look older by so many seconds than it is; 0: no longer."""
        requests.post(f"{self.address}{_AGED}/{seconds}", timeout=60)


@contextmanager
def s3_server(log: Path, certificates: Path | None = None) -> Iterator[S3Server]:
    """A server with an empty bucket; with ``certificates``, see `authority`, over TLS."""
    (port,) = free_ports(1)
    tls = certificates is not None
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.s3", str(port), *map(str, (certificates,) * tls)],
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = S3Server(f"http{'s' * tls}://{LOOPBACK}:{port}", certificates)
    try:
        assert wait_until(lambda: _answers(server)), log.read_text()
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(server: S3Server) -> bool:
    try:
        return requests.get(server.address, timeout=60, verify=server.authority).ok
    except requests.RequestException:
        return False


class _Handler(WSGIRequestHandler):
    """Stamps answers by a clock that is ahead of the one which stamps objects."""

    ahead = 0

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(timestamp or time.time() + self.ahead)


def _obeying(app: Any) -> Any:
    refusals = 0

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal refusals
        if environ["PATH_INFO"].startswith(_BUSY):
            refusals = int(environ["PATH_INFO"].rpartition("/")[2])
        elif environ["PATH_INFO"].startswith(_AGED):
            _Handler.ahead = int(environ["PATH_INFO"].rpartition("/")[2])
        elif refusals:
            refusals -= 1
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>"]
        else:
            return app(environ, start)  # type: ignore[no-any-return]
        start("204 No Content", [])
        return []

    return answer


def main() -> None:
    """Serve until killed."""
    from moto.moto_server.werkzeug_app import create_backend_app

    app = _obeying(create_backend_app("s3"))
    tls = [
        str(Path(folder, name)) for folder in sys.argv[2:] for name in ("server.crt", "server.key")
    ]
    run_simple(
        LOOPBACK,
        int(sys.argv[1]),
        app,
        threaded=False,
        request_handler=_Handler,
        ssl_context=tuple(tls) if tls else None,
    )


if __name__ == "__main__":
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    main()


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The requests to S3 that are made inside this context, by their operation."""
    made: Counter[str] = Counter()
    episodes.listen(lambda episode: made.update([episode.name]))
    try:
        yield made
    finally:
        episodes.listen(None)
