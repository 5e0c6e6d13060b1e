"""What do all tests share: a broker of their own, real images, and no process left behind?"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from skyrelay.stack.broker_node import BrokerNode
from tests.support.postgres import DATABASES, Cluster, a_database, cluster
from tests.support.station import Station, station

pytest_plugins = [
    "tests.support.left_behind",
    "tests.support.report",
    "tests.support.turns",
]

PROJECT = Path(__file__).resolve().parents[1]

# What a shell runs in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A developer's own stack and settings are not for the tests.
for variable in ("AMQP_URI", "DATABASE_URL", "TASKS_PATH", "DATA_PATH", "SECRET_KEY"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerNode]:
    """One private RabbitMQ node for the whole session. Most tests want `amqp_uri` instead."""
    node = BrokerNode(tmp_path_factory.mktemp("broker"))
    try:
        node.start()
        yield node
    finally:
        node.kill()


@pytest.fixture
def amqp_uri(broker: BrokerNode) -> Iterator[str]:
    """Address of an empty virtual host, for this test alone, on the session's node."""
    broker.start()  # A test before us may have stopped it.
    vhost = f"test-{secrets.token_hex(4)}"
    pid = broker.pid
    yield broker.add_vhost(vhost)
    # RabbitMQ 3.10 breaks when queues with confirmed dead-lettering are deleted while it is still
    # recovering them; after a restart the old virtual host is left alone.
    if broker.running and broker.pid == pid:
        with suppress(RuntimeError):  # A busy node gives its queues too little time to end.
            broker.delete_vhost(vhost)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One private PostgreSQL for the session."""
    with cluster() as made:
        yield made


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, without any table."""
    with a_database(request, tmp_path) as url:
        yield url


@pytest.fixture(name="station")
def a_station(tmp_path: Path, amqp_uri: str) -> Iterator[Station]:
    """A store, a broker for this test alone, and room for replicas of the trial service."""
    with station(tmp_path, amqp_uri) as made:
        yield made


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from the name of a folder of real images to its path.

    The calling test is skipped, with the name of what is missing, where there is none.
    """
    root = Path(os.environ.get("SKYRELAY_TEST_DATA", PROJECT.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"the real images `{name}` are not in {root} (see SKYRELAY_TEST_DATA)")
        return root / name

    return folder
