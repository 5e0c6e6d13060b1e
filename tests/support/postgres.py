"""How does a test get a PostgreSQL of its own, from Debian's package, without root's help?

PostgreSQL refuses to run as root; as root we run it as the package's user ``postgres``.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from skyrelay.stack.ports import LOOPBACK, free_ports
from skyrelay.stack.process import GuardedProcess
from tests.support.processes import wait_until

#: What the gateway runs on; it must behave the same on both.
DATABASES = ("sqlite", "postgresql")

_OWNER = "postgres"
_VERSIONS = Path("/usr/lib/postgresql")


class Cluster:
    """A running PostgreSQL, with a new database for everybody who asks."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        (self._port,) = free_ports(1)
        self._password = secrets.token_hex(8)
        self._process: GuardedProcess | None = None

    def url(self, database: str = "postgres") -> str:
        """Address of one database."""
        return f"postgresql://{_OWNER}:{self._password}@{LOOPBACK}:{self._port}/{database}"

    @property
    def pid(self) -> int:
        """Process id of the server; those of its connections are below it."""
        return int((self._folder / "data/postmaster.pid").read_text().split()[0])

    def program(self, name: str) -> Path:
        """One of PostgreSQL's programs, such as pg_dump, of the same version."""
        return self._binaries / name

    def new_database(self, template: str = "template1") -> str:
        """Address of a new database, a copy of ``template``."""
        name = f"test_{secrets.token_hex(4)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever still uses it."""
        self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def start(self) -> None:
        """Make the cluster if there is none, start it, and wait until it answers."""
        data = self._folder / "data"
        if not data.exists():
            self._initialise(data)
        options = {
            "port": self._port,
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 100,
        }
        command = [str(self._binaries / "postgres"), "-D", str(data)]
        command += [f"--{name}={value}" for name, value in options.items()]
        self._process = GuardedProcess(
            [*_as_owner(), *command], log=self._folder / "log", folder=self._folder
        )
        assert wait_until(self._answers), (self._folder / "log").read_text()

    def encrypt(self, certificate: Path, key: Path) -> None:
        """From now on take connections over TLS only, with this certificate."""
        data = self._folder / "data"
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            made = shutil.copyfile(source, data / name)
            made.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(made, _OWNER, _OWNER)
        rules = data / "pg_hba.conf"
        rules.write_text(f"hostssl all all {LOOPBACK}/32 scram-sha-256\n")
        self._execute("ALTER SYSTEM SET ssl = on")
        self._execute("SELECT pg_reload_conf()")
        assert wait_until(self._answers), (self._folder / "log").read_text()

    def shut_down(self) -> None:
        """Stop it in its own way: transactions are rolled back, clients sent away."""
        data = str(self._folder / "data")
        command = [*_as_owner(), str(self._binaries / "pg_ctl"), "-D", data, "-m", "fast", "stop"]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
        self.stop()

    def stop(self) -> None:
        """Stop it at once, as a crash of its machine would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _initialise(self, data: Path) -> None:
        password = self._folder / "password"
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, _OWNER)
        subprocess.run(
            [
                *_as_owner(),
                str(self._binaries / "initdb"),
                *("-D", str(data), "-U", _OWNER, "-A", "scram-sha-256"),
                *("--pwfile", str(password), "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            ],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=60) as connection:
            connection.execute(statement)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A private PostgreSQL; the calling test is skipped where there is no package."""
    binaries = sorted(_VERSIONS.glob("*/bin/initdb"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    # Not under pytest's folders: they are closed to all but us.
    folder = Path(tempfile.mkdtemp(prefix="skyrelay-postgres-"))
    made = Cluster(folder, binaries[-1].parent)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Address of a new database of the kind that is the parameter of a fixture."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'gateway.db'}"
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    url = postgres.new_database()
    yield url
    postgres.drop(url)


def _as_owner() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(_OWNER)
    except KeyError:
        pytest.skip("PostgreSQL cannot run as root, and there is no user postgres")
    return ["setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--clear-groups", "--"]
