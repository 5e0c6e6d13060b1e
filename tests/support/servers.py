"""How does a test run the gateway's real processes, one or several of each?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from gateway.database import Database
from gateway.migrate import migrate
from skyrelay.client import Client
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.gateway import PASSWORD, SECRET, add_user, opened
from tests.support.processes import wait_until

PROJECT = Path(__file__).resolve().parents[2]

#: Settings of an installation with the trial stage. It tries again after moments, so that a run
#: which loses its worker is not waited for, and gives those who do not obey half a second.
TRIAL = {
    "skyrelay_extra_stages": "tests.trial_service.stages",
    "skyrelay_retry_delays": "[0.3, 0.6]",
    "skyrelay_kill_grace": "0.5",
}


class Server:
    """A process of the gateway."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *arguments],
                cwd=PROJECT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL the process with all its children, as when its machine dies."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, seconds: float = 120.0) -> int:
        """Ask it to end; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)


class Installation:
    """A database, which gets its tables, a store, a broker, and gateway processes around them."""

    def __init__(self, folder: Path, database_url: str, amqp_uri: str, **settings: object) -> None:
        self.folder = folder
        self._servers: list[Server] = []
        self._clients: list[Client] = []
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "AMQP_URI": amqp_uri,
            "TASKS_PATH": str(folder / "tasks"),
            "DATA_PATH": str(folder / "data"),
            "SECRET_KEY": SECRET,
            "SKYRELAY_WEB_WORKERS": "1",
            # To begin one takes longer than all the rest of a web server; hardly a test asks it.
            "SKYRELAY_RENDERERS": "0",
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        # Here it takes no time; a process would first have to import what it takes.
        database = Database(database_url)
        migrate(database)
        database.close()

    def web(self, *, ready: bool = True) -> tuple[Server, str]:
        """Start a web server; its address."""
        (port,) = free_ports(1)
        address = f"http://{LOOPBACK}:{port}"
        server = self._start("web", "--bind", f"{LOOPBACK}:{port}")
        if ready:
            assert wait_until(lambda: answers(f"{address}/readyz")), server.log.read_text()
        return server, address

    def events(self, **environment: str) -> Server:
        """Start a consumer of events."""
        return self._start("events", **environment)

    def user(self, name: str) -> str:
        """Make a user; the key of the user's token."""
        with opened(self.folder, self.environment["DATABASE_URL"]) as gateway:
            return add_user(gateway, name)

    def client(self, address: str, name: str) -> Client:
        """A client of this user."""
        client = Client.login(address, name, PASSWORD)
        self._clients.append(client)
        return client

    def command(self, *arguments: str, text: str = "") -> str:
        """What a command of the command line prints."""
        done = subprocess.run(
            [sys.executable, "-m", "skyrelay.cli", *arguments],
            cwd=PROJECT,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def logs(self) -> str:
        """What all processes have said."""
        return "\n".join(f"== {server.log}\n{server.log.read_text()}" for server in self._servers)

    def end(self) -> None:
        """Leave nothing behind."""
        for client in self._clients:
            client.close()
        for server in self._servers:
            server.kill()

    def _start(self, *arguments: str, **environment: str) -> Server:
        log = self.folder / f"{arguments[0]}-{len(self._servers)}.log"
        server = Server(list(arguments), self.environment | environment, log)
        self._servers.append(server)
        return server


@contextmanager
def installation(
    folder: Path, database_url: str, amqp_uri: str, **settings: object
) -> Iterator[Installation]:
    """An installation that is gone afterwards."""
    made = Installation(folder, database_url, amqp_uri, **settings)
    try:
        yield made
    finally:
        made.end()


def answers(url: str) -> bool:
    """Whether something answers 200 there."""
    return status(url) == 200


def status(url: str) -> int:
    """The status with which something answers there, 0 if nothing does."""
    try:
        with requests.get(url, timeout=5) as response:
            return response.status_code
    except requests.RequestException:
        return 0
