"""How does a RabbitMQ node of our own run, from Debian's package, next to any other?

Everything of the node is under one private folder: its data, its Erlang cookie, its logs, its
configuration. It listens on the loopback interface only, on ports that were free, has a port
mapper (epmd) of its own, and dies with the process that started it. No root, no systemd.
The tests put several of them, each with an address of its own, together to a cluster.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from skyrelay.stack.ports import LOOPBACK, free_ports
from skyrelay.stack.process import GuardedProcess
from skyrelay.time_limits import CONSUMER_TIMEOUT_MS

#: Debian's wrappers in /usr/sbin switch to the user rabbitmq; the real scripts do not.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

USER = "skyrelay"

CONFIGURATION = f"""\
listeners.tcp.1 = {{host}}:{{port}}
default_user = {USER}
default_pass = {{password}}
consumer_timeout = {CONSUMER_TIMEOUT_MS}
# The default, a share of the memory, stops all publishers on a laptop's nearly full disk.
disk_free_limit.absolute = 50MB
log.console = false
log.file.level = info
"""


@dataclass(frozen=True)
class Place:
    """Where a node lives.

    Attributes
    ----------
    host : str
        Address on which clients find it.
    inner_host : str
        Address on which other nodes and its tools find it.
    name : str
        Name of the node. The host in it must resolve, or the node hangs without a word.
    within : tuple of str
        Command that runs another one where these addresses are, with its arguments.
    """

    host: str = LOOPBACK
    inner_host: str = LOOPBACK
    name: str = "skyrelay@localhost"
    within: tuple[str, ...] = ()


class BrokerNode:
    """A private RabbitMQ node in `folder`; also a context manager that starts and stops it.

    The ports, and so `amqp_uri`, stay the same when the node is stopped and started again.

    Parameters
    ----------
    folder : Path
        Everything of the node; its queues and messages are found again in the same folder.
    place : Place, optional
        Where it lives (default: on the loopback interface).
    ports : sequence of int, optional
        For clients, for other nodes, and for the port mapper (default: free ones).
    configuration : str, optional
        More lines for its configuration.
    plugins : sequence of str, optional
        Plugins that it is to have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        place: Place | None = None,
        ports: Sequence[int] = (),
        configuration: str = "",
        plugins: Sequence[str] = (),
    ) -> None:
        self.folder = folder.resolve()
        self.place = place or Place()
        self.port, self._dist_port, self._epmd_port = ports or free_ports(3)
        self._configuration = configuration
        self._plugins = tuple(plugins)
        self._process: GuardedProcess | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._password = _secret(self.folder / "password")
        self._cookie = _secret(self.folder / ".erlang.cookie")

    @property
    def amqp_uri(self) -> str:
        """Address of the default virtual host, with the password in it."""
        return self.uri_of("/")

    def uri_of(self, vhost: str) -> str:
        """Address of the virtual host `vhost`, with the password in it."""
        login, address = f"{USER}:{self._password}", f"{self.place.host}:{self.port}"
        return f"amqp://{login}@{address}/{quote(vhost, safe='')}"

    @property
    def log(self) -> Path:
        """The node's own log."""
        return self.folder / "log" / "node.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int | None:
        """Process id of the Erlang machine, None while the node is down."""
        try:
            return int((self.folder / "node.pid").read_text()) if self.running else None
        except (FileNotFoundError, ValueError):
            return None

    def members(self) -> list[int]:
        """Process ids of all that belongs to the node, its port mapper included."""
        return self._process.members() if self._process else []

    def start(self, seconds: float = 120.0) -> None:
        """Start the node and return when it accepts AMQP connections.

        Raises
        ------
        RuntimeError
            RabbitMQ is not installed, the folder is in use, or the node does not come up within
            `seconds`; says so in one sentence.
        """
        if self.running:
            return
        if not SERVER.exists():
            raise RuntimeError(
                "RabbitMQ is not installed: run `make setup`, or set AMQP_URI to a broker of yours."
            )
        self._prepare()
        self._process = GuardedProcess(
            [*self.place.within, str(SERVER)],
            log=self.folder / "log" / "console.log",
            environment=self._environment(),
            folder=self.folder,
            lock=self.folder / "lock",
        )
        deadline = time.monotonic() + seconds
        while not self._accepts():
            if not self._process.running:
                raise RuntimeError(f"The RabbitMQ node ended while it started; see {self.log}.")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(
                    f"The RabbitMQ node did not come up in {seconds:.0f} s; see {self.log}."
                )
            time.sleep(0.1)

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code once nothing of the node is left; None if that takes longer."""
        return self._process.wait(seconds) if self._process else None

    def stop(self, grace: float = 60.0) -> None:
        """Stop the node in its own way; whatever is left after `grace` seconds is killed."""
        if self._process:
            self._process.stop(grace)

    def kill(self) -> None:
        """SIGKILL the node and its port mapper, as when the machine loses power."""
        if self._process:
            self._process.kill()

    def restart(self) -> None:
        """Stop and start the node; connections break, durable queues and messages stay."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def add_vhost(self, name: str) -> str:
        """Make a virtual host that our user may use without limits; returns its address."""
        user, vhost, all_ = f'<<"{USER}">>', f'<<"{name}">>', '<<".*">>'
        self.evaluate(
            f"ok = rabbit_vhost:add({vhost}, {user}), "
            "ok = rabbit_auth_backend_internal:set_permissions("
            f"{user}, {vhost}, {all_}, {all_}, {all_}, {user})."
        )
        return self.uri_of(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all its queues; its connections are closed."""
        self.evaluate(f'ok = rabbit_vhost:delete(<<"{name}">>, <<"{USER}">>).')

    def evaluate(self, expression: str) -> str:
        """What the node makes of an Erlang expression.

        rabbitmqctl could do that too, but takes a hundred times longer to start.

        Raises
        ------
        RuntimeError
            The expression failed in the node.
        """
        answer = subprocess.run(
            [
                *(*self.place.within, "erl_call", "-R", "-c", self._cookie),
                *("-n", self.place.name, "-timeout", "60", "-e"),
            ],
            env=self._environment(),
            input=expression + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
        said = (answer.stdout + answer.stderr).strip()
        if answer.returncode != 0 or not said.startswith("{ok,"):
            raise RuntimeError(f"The RabbitMQ node refused `{expression}`: {said}")
        return said.removeprefix("{ok,").removesuffix("}").strip()

    def _prepare(self) -> None:
        """Write the node's configuration."""
        (self.folder / "conf").mkdir(exist_ok=True)
        (self.folder / "conf" / "rabbitmq.conf").write_text(
            CONFIGURATION.format(host=self.place.host, port=self.port, password=self._password)
            + self._configuration
        )
        (self.folder / "conf" / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        (self.folder / "conf" / "environment").write_text("")
        (self.folder / "node.pid").unlink(missing_ok=True)

    def _environment(self) -> dict[str, str]:
        """Ours without anything that is meant for another node, and all the places of this one."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_")) and name != "NOTIFY_SOCKET"
        }
        conf = self.folder / "conf"
        inner = self.place.inner_host.replace(".", ",")
        return inherited | {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": self.place.name,
            "RABBITMQ_USE_LONGNAME": str("." in self.place.name).lower(),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": self.place.host,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": str(self.log),
            "RABBITMQ_PID_FILE": str(self.folder / "node.pid"),
            "RABBITMQ_CONF_ENV_FILE": str(conf / "environment"),
            "RABBITMQ_CONFIG_FILE": str(conf / "rabbitmq"),
            "RABBITMQ_CONFIG_FILES": str(conf / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(conf / "advanced"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(conf / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(conf / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (f"-kernel inet_dist_use_interface {{{inner}}}"),
            "ERL_EPMD_ADDRESS": self.place.inner_host,
            "ERL_EPMD_PORT": str(self._epmd_port),
        }

    def _accepts(self) -> bool:
        """Whether the node answers the greeting of the protocol.

        It listens last of all it does at its start. pika would do as well, but logs a page for
        every refused connection.
        """
        try:
            address = (self.place.host, self.port)
            with socket.create_connection(address, timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


def _secret(path: Path) -> str:
    """The random word in the file `path`, which only its owner may read; made at first."""
    if not path.exists():
        # Whole or not at all: an empty one would be taken for good after an interrupted start.
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(0o600)
        fresh.write_text(secrets.token_hex(16))
        fresh.chmod(0o400)  # Erlang refuses a cookie that is more open than that.
        fresh.rename(path)
    return path.read_text()
