"""How does the whole of Skyrelay come up, stay up and go away again, on one machine?

Everything is under one folder and on free loopback ports: the broker's node, the database, the
tasks, the logs. Nothing outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from skyrelay import threads
from skyrelay.settings import get_settings
from skyrelay.stack import roles
from skyrelay.stack.administrator import Administrator, administrator
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import LOOPBACK, free_ports
from skyrelay.stack.process import lock_file
from skyrelay.stack.supervisor import Command, Supervised
from skyrelay.stages import SERVICES

PROJECT = Path(__file__).resolve().parents[2]

#: What a stack has of its own unless it is told otherwise: a developer's settings for another
#: installation must not leak into it.
OWN_SETTINGS = ("AMQP_URI", "DATABASE_URL", "SECRET_KEY", "DATA_PATH", "TASKS_PATH")

#: Until every process says that it is ready, from a cold disk.
READY_SECONDS = 180.0

#: A process that has died so often before it was ready will not be ready.
HOPELESS_DEATHS = 3

#: A stage that runs when the stack is stopped is handed back after this time, and done again when
#: the stack comes up: nobody waits for the end of a stage after Ctrl-C.
DRAIN_SECONDS = 5.0

#: After this the processes that are left are killed.
STOP_SECONDS = 20.0


class Stack:
    """The broker, the gateway and all stage services; a context manager that starts and stops them.

    Parameters
    ----------
    folder : Path
        Everything of the stack; tasks, users and messages are found again in the same folder.
    replicas : mapping, optional
        Number of replicas of each service (default: one of each).
    environment : mapping, optional
        Settings that take precedence over the stack's own, under their names in the environment;
        with AMQP_URI in it, no broker is started.
    adapt : callable, optional
        Takes the role of each process and returns the one to start: under a profiler, say.
    say : callable, optional
        Takes a sentence about what is going on (default: nobody listens).

    Attributes
    ----------
    base_url : str
        Address of the gateway.
    """

    def __init__(
        self,
        folder: Path,
        *,
        replicas: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        adapt: Callable[[roles.Role], roles.Role] = lambda role: role,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.folder = folder.resolve()
        self._say = say
        self._given = dict(environment or {})
        self._adapt = adapt
        self._replicas = dict.fromkeys(SERVICES, 1) | dict(replicas or {})
        self._broker: Supervised | None = None
        self._processes: list[Supervised] = []
        self._environment: dict[str, str] = {}
        self._lock: int | None = None
        self._administrator: Administrator | None = None
        self.base_url = ""
        self.amqp_uri = ""

    @property
    def administrator(self) -> Administrator:
        """Name, first password and token of the administrator, once the stack has started."""
        if self._administrator is None:
            raise RuntimeError("The stack has not been started.")
        return self._administrator

    @property
    def admin_token(self) -> str:
        return self.administrator.token

    @property
    def processes(self) -> dict[str, int]:
        """Process id of every process that is up, by role (``photometry-1``, ``broker``)."""
        supervised = [*([self._broker] if self._broker else []), *self._processes]
        return {each.name: pid for each in supervised if (pid := each.server.pid) is not None}

    @property
    def description(self) -> Path:
        """The file that tells scripts about the running stack."""
        return self.folder / "stack.json"

    def log_of(self, name: str) -> Path:
        """The log of the process with this role."""
        return self.folder / "log" / f"{name}.log"

    def start(self) -> None:
        """Start everything and return when all of it is ready.

        Raises
        ------
        RuntimeError
            In one sentence, what did not start and where its log is. Nothing is left running.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # It holds the users' tokens.
        self._lock = lock_file(self.folder / "lock")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def add_replica(self, service: str) -> None:
        """Start one more replica of a service; returns when it takes messages.

        Raises
        ------
        RuntimeError
            In one sentence, if it does not start.
        """
        self._replicas[service] += 1
        (port,) = free_ports(1)
        role = self._adapt(roles.replica(service, self._replicas[service], port))
        self._wait_until_ready(role, self._start_role(role))
        self._describe()

    def stop(self) -> None:
        """Stop everything, the broker last; returns when nothing is left."""
        self.description.unlink(missing_ok=True)
        if self._processes or self._broker:
            self._say("Stopping everything.")
        if self._processes:
            with ThreadPoolExecutor(len(self._processes)) as pool:
                list(pool.map(lambda each: each.stop(STOP_SECONDS), self._processes))
        self._processes = []
        if self._broker:
            self._broker.stop(STOP_SECONDS)
            self._broker = None
        # A restart that was under way at first may have written it anew.
        self.description.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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

    def _start(self) -> None:
        environment = self._environment = self._whole_environment()
        for name in ("data", "tasks", "log"):
            (self.folder / name).mkdir(exist_ok=True)
        if "AMQP_URI" not in environment:
            environment["AMQP_URI"] = self._start_broker()
        self.amqp_uri = environment["AMQP_URI"]
        self._write_settings(environment)

        everything = self._roles()
        self._say(f"Starting {', '.join(role.name for role in everything)}.")
        started = [(role, self._start_role(role)) for role in everything]
        # Whoever needs the database first makes its tables; the others wait for that.
        self._administrator = administrator(self.folder / "admin.json", environment, PROJECT)
        for role, process in started:
            self._wait_until_ready(role, process)
        self._describe()

    def _start_broker(self) -> str:
        self._say("Starting a private RabbitMQ node (5 to 20 s).")
        node = BrokerNode(self.folder / "broker")
        broker = Supervised("broker", node, say=self._say, changed=self._describe_again)
        broker.start()
        self._broker = broker
        return node.amqp_uri

    def _roles(self) -> list[roles.Role]:
        names = [
            (service, number + 1)
            for service, count in self._replicas.items()
            for number in range(count)
        ]
        web_port, events_port, *ports = free_ports(2 + len(names))
        self.base_url = f"http://{LOOPBACK}:{web_port}"
        replicas = [
            roles.replica(service, number, port)
            for (service, number), port in zip(names, ports, strict=True)
        ]
        everything = [roles.web(web_port), roles.events(events_port), *replicas]
        return [self._adapt(role) for role in everything]

    def _start_role(self, role: roles.Role) -> Supervised:
        command = Command(
            role.command,
            log=self.log_of(role.name),
            environment={**self._environment, **role.environment},
            folder=PROJECT,
        )
        supervised = Supervised(role.name, command, say=self._say, changed=self._describe_again)
        supervised.start()
        self._processes.append(supervised)
        return supervised

    def _wait_until_ready(self, role: roles.Role, process: Supervised) -> None:
        if role.ready_url is None:
            return
        deadline = time.monotonic() + READY_SECONDS
        while not _answers_ok(role.ready_url):
            if process.deaths >= HOPELESS_DEATHS or time.monotonic() > deadline:
                raise RuntimeError(f"{role.name} does not start; see {self.log_of(role.name)}.")
            time.sleep(0.1)
        self._say(f"{role.name} is ready.")

    def _whole_environment(self) -> dict[str, str]:
        """What all processes have in their environment."""
        inherited = {k: v for k, v in os.environ.items() if k.upper() not in OWN_SETTINGS}
        own = {
            "DATABASE_URL": f"sqlite:///{self.folder / 'skyrelay.db'}",
            "SECRET_KEY": self._secret_key(),
            "DATA_PATH": str(self.folder / "data"),
            "TASKS_PATH": str(self.folder / "tasks"),
            "SKYRELAY_DRAIN_GRACE": str(DRAIN_SECONDS),
        }
        # Several stages run at a time, on few cores: numerical libraries shall not each take all.
        ours = {**threads.at_most(1), "PYTHONUNBUFFERED": "1"}
        return {**ours, **inherited, **own, **self._given}

    def _secret_key(self) -> str:
        path = self.folder / "secret_key"
        if not path.exists():
            new = path.with_name(".secret_key.new")
            new.touch(0o600)
            new.write_text(secrets.token_hex(32))
            new.replace(path)
        return path.read_text()

    def _write_settings(self, environment: Mapping[str, str]) -> None:
        """Leave the settings that are the stack's own to the command line."""
        path = self.folder / "settings.env"
        path.touch(0o600)
        path.write_text("".join(f"{name}='{environment[name]}'\n" for name in OWN_SETTINGS))

    def _describe_again(self) -> None:
        """Tell scripts of a process that was started anew; not before all are ready."""
        if self.description.exists():
            self._describe()

    def _describe(self) -> None:
        """Write the file that tells scripts about us; whole or not at all."""
        if self._administrator is None:
            return
        processes = {"supervisor": os.getpid(), **self.processes}
        description = {
            "base_url": self.base_url,
            "user": self._administrator.name,
            "token": self._administrator.token,
            "amqp_uri": self.amqp_uri,
            "processes": [{"role": role, "pid": pid} for role, pid in processes.items()],
        }
        new = self.description.with_name(f".stack.json.{secrets.token_hex(4)}")
        new.touch(0o600)
        new.write_text(json.dumps(description, indent=2) + "\n")
        new.replace(self.description)


def settings_given() -> dict[str, str]:
    """The stack's own settings that the environment or a ``.env`` file sets to something else."""
    settings = get_settings()
    return {
        name: str(getattr(settings, name.lower()))
        for name in OWN_SETTINGS
        if name.lower() in settings.model_fields_set
    }


def _answers_ok(url: str) -> bool:
    # Never through a proxy that the environment may name: it is our own loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
