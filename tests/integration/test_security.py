"""Do the least rights suffice, and no more? Does all run over TLS, and not without trust?"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import requests
from amqp.exceptions import AccessRefused
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from gateway.database import Database
from gateway.migrate import migrate
from skyrelay.broker import topology
from skyrelay.broker.connection import connect
from skyrelay.broker.publisher import Publisher
from skyrelay.broker.rights import all_rights
from skyrelay.broker.topology import Route
from skyrelay.messages import KillRun, Outcome, StageProgressed
from skyrelay.settings import get_settings
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import free_ports
from tests.support.authority import authority
from tests.support.postgres import cluster
from tests.support.processes import wait_until
from tests.support.servers import PROJECT, TRIAL
from tests.support.station import station, until

PASSWORD = "a-password-for-tests"
#: Who does it, in the log of the node.
ACTOR = '<<"tests">>'


@pytest.fixture
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of this test alone, in this process, too."""
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrokerNode, str]]:
    """A broker with its management, as every image of RabbitMQ's has it, and where that is."""
    (port,) = free_ports(1)
    node = BrokerNode(
        tmp_path_factory.mktemp("managed"),
        configuration=f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n",
        plugins=["rabbitmq_management"],
    )
    try:
        node.start()
        yield node, f"http://127.0.0.1:{port}"
    finally:
        node.kill()


@pytest.fixture(params=["by hand", "by themselves"])
def users(request: pytest.FixtureRequest, managed: tuple[BrokerNode, str]) -> dict[str, str]:
    """The users of an installation and its queues; the address of each.

    By hand: as `broker-rights` says. By themselves: as containers do it, with `broker-users`.
    """
    node, management = managed
    vhost = request.node.name.replace("[", "-").strip("]")
    node.add_vhost(vhost)
    names = [rights.user for rights in all_rights()]
    address = f"{node.place.host}:{node.port}/{quote(vhost, safe='')}"
    found = {name: f"amqp://{name}:{PASSWORD}@{address}" for name in names}
    if request.param == "by hand":
        calls = [call for line in _printed(vhost) for call in _calls(*shlex.split(line)[1:])]
        # Of an earlier test on this node.
        calls = [f"catch {call}" if ":add_user(" in call else call for call in calls]
        node.evaluate(", ".join(calls) + ".")
    else:
        _make_users(node, management, found)
    make = "import sys, skyrelay.broker.publisher as p; p.declare_topology(sys.argv[1])"
    command = [sys.executable, "-c", make, found["gateway"]]
    subprocess.run(command, env=_environment(), cwd=PROJECT, check=True)
    return found


def _make_users(node: BrokerNode, management: str, addresses: dict[str, str]) -> list[str]:
    """What `broker-users` says that it has done."""
    login = urlsplit(node.amqp_uri)
    assert login.username and login.password
    environment = {
        "BROKER_MANAGEMENT": management,
        "BROKER_ADMINISTRATOR": login.username,
        "BROKER_ADMINISTRATOR_PASSWORD": login.password,
        **{f"BROKER_{name.upper()}_URI": address for name, address in addresses.items()},
    }
    command = [sys.executable, "-m", "skyrelay.cli", "broker-users"]
    done = subprocess.run(
        command,
        env=_environment() | environment,
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def _printed(vhost: str) -> list[str]:
    command = [sys.executable, "-m", "skyrelay.cli", "broker-rights", "--vhost", vhost]
    done = subprocess.run(
        command, env=_environment(), cwd=PROJECT, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def _environment() -> dict[str, str]:
    return {**os.environ, **{name.upper(): value for name, value in TRIAL.items()}}


def _calls(verb: str, *words: str) -> list[str]:
    """What rabbitmqctl, which takes seconds to start, has the node do."""
    backend = "ok = rabbit_auth_backend_internal"
    match verb, words:
        case "add_user", (user,):
            arguments = [user, PASSWORD]
        case "set_user_tags", (user, *tags):
            # Tags are atoms there.
            return [f"{backend}:set_tags({_binary(user)}, [{', '.join(tags)}], {ACTOR})"]
        case "set_permissions", ("-p", vhost, user, *patterns):
            arguments = [user, vhost, *patterns]
        case "set_topic_permissions", ("-p", vhost, user, exchange, *patterns):
            arguments = [user, vhost, exchange, *patterns]
        case _:
            raise AssertionError((verb, words))
    return [f"{backend}:{verb}({', '.join(map(_binary, arguments))}, {ACTOR})"]


def _binary(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'


def test_the_least_rights_suffice_for_all_that_happens(
    users: dict[str, str], tmp_path: Path
) -> None:
    with station(tmp_path, users["gateway"]) as place:
        place.ready_replica(amqp_uri=users["stage"], declare_topology="false")
        good = place.order(act="retriable once")
        assert place.finished(good).outcome is Outcome.DONE
        killed = place.order(seconds=60)
        place.wait_for_begin(killed)
        place.kill(killed)
        assert place.finished(killed).outcome is Outcome.CANCELLED
        place.publisher.publish_raw(b"nonsense", topology.route_of(place.command()))
        assert wait_until(place.dead_letters), place.logs()


def test_the_rights_do_not_suffice_for_more(users: dict[str, str], tmp_path: Path) -> None:
    stage = users["stage"]
    with station(tmp_path, users["gateway"]) as place:
        command = place.command()
        kill = KillRun(run=command.run, task=command.task)
        foreign = Route(topology.EVENTS.name, "x.StageFinished", mandatory=False, persistent=True)
        for route in (topology.route_of(kill), foreign):
            with (
                pytest.raises(AccessRefused),
                connect(users["stage"], "test", confirms=True) as own,
            ):
                own.Producer().publish("{}", exchange=route.exchange, routing_key=route.routing_key)
        for queue in ("gateway.events", "gateway.dead", "retry.5"):
            with pytest.raises(AccessRefused), connect(stage, "test") as own:
                own.default_channel.basic_get(queue)
        with pytest.raises(AccessRefused), connect(stage, "test") as own:
            own.default_channel.queue_delete("work.inspect")
        with pytest.raises(AccessRefused), connect(users["monitor"], "test") as own:
            own.default_channel.basic_get("work.inspect")


def test_the_monitor_sees_the_lengths_of_queues_and_changes_nothing(
    users: dict[str, str], managed: tuple[BrokerNode, str]
) -> None:
    """What KEDA asks, as its user."""
    _, management = managed
    vhost = users["monitor"].rpartition("/")[2]
    queue = f"{management}/api/queues/{vhost}/work.inspect"
    with connect(users["gateway"], "test", confirms=True) as own:
        own.Producer().publish("{}", exchange=topology.WORK.name, routing_key="inspect")
    monitor = ("monitor", PASSWORD)

    def length() -> int:
        answer = requests.get(queue, auth=monitor, timeout=60)
        assert answer.status_code == 200, answer.text
        content = answer.json()
        # The broker counts every few seconds; KEDA adds what waits and what is in hand.
        return int(content.get("messages_ready", 0) + content.get("messages_unacknowledged", 0))

    assert wait_until(lambda: length() == 1)
    assert requests.delete(queue, auth=monitor, timeout=60).status_code == 401
    taking = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    answer = requests.post(f"{queue}/get", json=taking, auth=monitor, timeout=60)
    assert answer.status_code in (400, 401), answer.text
    for name in ("gateway", "stage"):
        assert requests.get(queue, auth=(name, PASSWORD), timeout=60).status_code == 401


def test_users_are_made_again_with_another_password_or_name(
    managed: tuple[BrokerNode, str],
) -> None:
    node, management = managed
    node.add_vhost("rotated")
    where = f"{node.place.host}:{node.port}/rotated"
    gateway = f"amqp://rotated:first@{where}"
    assert _make_users(node, management, {"gateway": gateway}) == ["rotated has its rights"]
    with connect(gateway, "test") as own:
        second = f"amqp://rotated:sec%2Fond@{where}"
        _make_users(node, management, {"gateway": second})
        # Who is connected stays so, until it comes anew.
        topology.declare(own)
    with connect(second, "test") as own:
        topology.declare(own)
    with pytest.raises(ConnectionError):
        connect(gateway, "test")


def test_everything_runs_over_tls_and_only_with_the_right_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None
) -> None:
    ours, others = (authority(tmp_path / name) for name in ("ours", "others"))
    (port,) = free_ports(1)
    configuration = (
        f"listeners.ssl.1 = 127.0.0.1:{port}\n"
        f"ssl_options.cacertfile = {ours / 'ca.crt'}\n"
        f"ssl_options.certfile = {ours / 'server.crt'}\n"
        f"ssl_options.keyfile = {ours / 'server.key'}\n"
    )
    with BrokerNode(tmp_path / "broker", configuration=configuration) as node:
        uri = node.amqp_uri.replace("amqp://", "amqps://").replace(f":{node.port}/", f":{port}/")
        monkeypatch.setenv("SKYRELAY_BROKER_CA", str(ours / "ca.crt"))
        get_settings.cache_clear()
        with station(tmp_path, uri) as place:
            place.ready_replica()
            go = tmp_path / "go"
            command = place.order(program=until(go))
            assert wait_until(lambda: place.of(command, StageProgressed)), place.logs()
            go.touch()
            assert place.finished(command).outcome is Outcome.DONE
        monkeypatch.setenv("SKYRELAY_BROKER_CA", str(others / "ca.crt"))
        get_settings.cache_clear()
        with pytest.raises(OSError, match="certificate verify failed"):
            connect(uri, "test")
        with pytest.raises(Exception, match="certificate verify failed"):
            Publisher(uri).connect()


def test_the_database_is_reached_over_tls_and_only_with_the_right_authority_and_name(
    tmp_path: Path,
) -> None:
    ours, others = (authority(tmp_path / name) for name in ("ours", "others"))
    with cluster() as postgres:
        postgres.encrypt(ours / "server.crt", ours / "server.key")
        url = postgres.url()
        verified = f"{url}?sslmode=verify-full&sslrootcert="
        trusted = f"{verified}{ours / 'ca.crt'}"
        with _database(trusted) as database:
            migrate(database)
            with database.reading() as session:
                used = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                assert session.scalar(used) is True
        stranger = trusted.replace("@127.0.0.1:", "@elsewhere.example:") + "&hostaddr=127.0.0.1"
        for address, reason in (
            (f"{verified}{others / 'ca.crt'}", "certificate verify failed"),
            (stranger, "does not match host name"),
            (f"{url}?sslmode=disable", "no encryption"),
        ):
            with (
                _database(address) as database,
                pytest.raises(OperationalError, match=reason),
            ):
                database.engine.connect()


@contextmanager
def _database(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()
