"""Is everything there after a restore, as docs/operations/backup.md says?"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from gateway.database import Database
from gateway.models import IS_OPEN, Run, now
from skyrelay.stack.broker_node import BrokerNode
from tests.support.postgres import Cluster
from tests.support.processes import wait_until
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import Replica

PAGE = (Path(__file__).parents[2] / "docs/operations/backup.md").read_text()
#: Of the folder of the tasks: what is made anew, and what belongs to runs.
LEFT_OUT = ("--exclude=./.cache", "--exclude=./.trash", "--exclude=./.runs")


@pytest.fixture
def emptied(broker: BrokerNode) -> Iterator[str]:
    """Another broker, on which nothing waits: messages are not backed up."""
    yield broker.add_vhost("restored")
    broker.delete_vhost("restored")


def test_a_restored_installation_has_all_tasks_and_ends_the_runs_that_were_open(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_url: str,
    amqp_uri: str,
    emptied: str,
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    with installation(old, database_url, amqp_uri, **TRIAL) as place, _replica(place):
        place.events()
        _, address = place.web()
        place.user("alice")
        client = place.client(address, "alice")
        image = old / "m51.fits"
        image.write_bytes(b"image")
        good = client.create_task(image, title="M 51").id
        client.process(good, ["trial"])
        assert client.wait(good, interval=0.05).state == "trial_done"
        files = [entry.name for entry in client.files(good)]
        caught = client.create_task(original_name="late.fits").id
        trace = old / "trace"
        client.process(caught, ["trial"], {"trial": {"seconds": 600, "trace": str(trace)}})
        assert wait_until(trace.exists), place.logs()
        restored_url = _copy_database(request, database_url, new)
        archive = tmp_path / "tasks.tar"
        command = ["tar", "-C", old / "tasks", *LEFT_OUT, "-cf", archive, "."]
        subprocess.run(command, check=True)
        # What comes after the copy is lost.
        client.create_task(original_name="too late.fits")
        token = client.token
    (new / "tasks").mkdir()
    subprocess.run(["tar", "-C", new / "tasks", "-xf", archive], check=True)
    _make_older(restored_url)
    with installation(new, restored_url, emptied, **TRIAL) as place, _replica(place):
        place.events()
        _, address = place.web()
        client = place.client(address, "alice")
        assert client.token == token
        assert {task.id for task in client.tasks()} == {good, caught}
        assert [entry.name for entry in client.files(good)] == files
        assert client.read(good, "product.txt") == b"product"
        state = client.wait(caught, interval=0.05)
        # Said by the janitor, or by a replica to whom the watchdog has sent it again.
        assert state.failed and state.error.startswith("The files of this run are ")
        for task in (caught, good):
            # Not for ten minutes once more, as the configuration that was copied says.
            client.process(task, ["trial"], {"trial": {}})
            assert client.wait(task, interval=0.05).state == "trial_done", place.logs()


def test_the_manual_says_what_is_done_here() -> None:
    for word in ("pg_dump -Fc", ".backup", "pg_restore -d skyrelay --no-owner", *LEFT_OUT):
        assert word in PAGE


@contextmanager
def _replica(place: Installation) -> Iterator[None]:
    """A replica of the trial service in an installation."""
    made = Replica(place.environment, place.folder / "replica.log")
    try:
        yield
    finally:
        made.end()


def _copy_database(request: pytest.FixtureRequest, url: str, folder: Path) -> str:
    """Back up and restore into a new database; its address."""
    if url.startswith("sqlite"):
        target = folder / "skyrelay.db"
        # What `.backup` of its command does.
        with closing(sqlite3.connect(str(make_url(url).database))) as source:
            with closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
        return f"sqlite:///{target}"
    cluster: Cluster = request.getfixturevalue("postgres")
    dump = folder / "skyrelay.dump"
    with dump.open("wb") as output:
        subprocess.run([cluster.program("pg_dump"), "-Fc", url], stdout=output, check=True)
    restored = cluster.new_database()
    request.addfinalizer(lambda: cluster.drop(restored))
    subprocess.run([cluster.program("pg_restore"), "-d", restored, "--no-owner", dump], check=True)
    return restored


def _make_older(url: str) -> None:
    """A copy of last night: what is open there is not young any more."""
    database = Database(url)
    with database.writing() as session:
        for run in session.scalars(select(Run).where(IS_OPEN)):
            run.created = now() - timedelta(hours=8)
    database.close()
