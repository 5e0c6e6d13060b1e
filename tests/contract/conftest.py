"""What do the tests of the API share: a gateway on each kind of database, and some users."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.database import Database
from gateway.migrate import migrate
from tests.support.gateway import Bench, Caller, opened
from tests.support.postgres import Cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables, to be copied: quicker than to migrate for each test."""
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Cluster) -> str:
    """The name of a database with all tables, to be copied."""
    url = postgres.new_database()
    database = Database(url)
    migrate(database)
    database.close()
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "gateway.db")
        yield f"sqlite:///{tmp_path / 'gateway.db'}"
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    url = postgres.new_database(request.getfixturevalue("postgres_template"))
    yield url
    postgres.drop(url)


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """A gateway without a broker, which asks nobody in the world; the test plays the stages."""
    with opened(tmp_path, database_url, skyrelay_offline=True) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


@pytest.fixture
def alice(bench: Bench) -> Caller:
    """A user in the group `observers`."""
    return bench.caller("alice", "observers", first_name="Alice")


@pytest.fixture
def bob(bench: Bench, alice: Caller) -> Caller:
    """Another user in the group `observers`."""
    return bench.caller("bob", "observers")


@pytest.fixture
def eve(bench: Bench) -> Caller:
    """A user who is in no group with anybody."""
    return bench.caller("eve", "strangers")


@pytest.fixture
def admin(bench: Bench) -> Caller:
    """One of the staff."""
    return bench.caller("admin", is_staff=True)
