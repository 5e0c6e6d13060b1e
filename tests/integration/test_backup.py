"""Is everything there after a restore, as docs/operations/backup.md says?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from gateway.database import Database
from gateway.models import IS_OPEN, Run, now
from gateway.orchestration import janitor
from skyrelay.client import Client
from skyrelay.stack.broker_node import BrokerNode
from tests.support.backups import dump, restore
from tests.support.gateway import opened
from tests.support.postgres import Cluster
from tests.support.processes import wait_until
from tests.support.servers import PROJECT, TRIAL, Installation, installation
from tests.support.station import Replica

PAGE = (Path(__file__).parents[2] / "docs/operations/backup.md").read_text()
#: More than a pipe holds, so that who writes an archive waits for who reads it.
LARGE = bytes(range(256)) * 1024
#: Bytes of an archive before the first large image is in it whole.
BEGUN = 64 * 1024


@pytest.fixture
def emptied(broker: BrokerNode) -> Iterator[str]:
    """Another broker, on which nothing waits: messages are not backed up."""
    yield broker.add_vhost("restored")
    broker.delete_vhost("restored")


def test_a_restored_installation_has_all_tasks_although_stages_published_during_the_backup(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_url: str,
    amqp_uri: str,
    emptied: str,
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    with installation(old, database_url, amqp_uri, skyrelay_slots=2, **TRIAL) as place:
        with _replica(place):
            client = _begin(place)
            good = _new_task(client, old, b"image", title="M 51")
            client.process(good, ["trial"])
            assert client.wait(good, interval=0.05).state == "trial_done"
            files = [entry.name for entry in client.files(good)]
            caught = client.create_task(original_name="late.fits").id
            trace = old / "trace"
            client.process(caught, ["trial"], {"trial": {"seconds": 600, "trace": str(trace)}})
            assert wait_until(trace.exists), place.logs()
            changing = [_new_task(client, old, LARGE) for _ in range(6)]
            restored_url = _copy_database(request, database_url, new)
            with _backup(place) as backup:
                assert backup.stdout is not None
                archive = backup.stdout.read(BEGUN)
                for task in changing:
                    client.process(task, ["trial"])
                for task in changing:
                    assert client.wait(task, interval=0.05).state == "trial_done", place.logs()
                # What comes after the copy of the database is lost.
                client.create_task(original_name="too late.fits")
                archive += backup.stdout.read()
            assert backup.returncode == 0
            token = client.token
    (new / "tasks").mkdir()
    _extract(archive, new)
    _make_older(restored_url)
    with opened(new, restored_url) as gateway:
        janitor.drop_orphans(gateway)
    with installation(new, restored_url, emptied, **TRIAL) as place, _replica(place):
        place.events()
        _, address = place.web()
        client = place.client(address, "alice")
        assert client.token == token
        assert {task.id for task in client.tasks()} == {good, caught, *changing}
        assert [entry.name for entry in client.files(good)] == files
        assert client.read(good, "product.txt") == b"product"
        found = []
        for task in changing:
            assert client.read(task, "image.fits") == LARGE
            found.append([entry.name for entry in client.files(task)])
        # Of some before they were published, of some after: each is whole.
        assert ["image.fits"] in found
        assert files in found
        assert all(names in (["image.fits"], files) for names in found)
        state = client.wait(caught, interval=0.05)
        # Said by the janitor, or by a replica to whom the watchdog has sent it again.
        assert state.failed and state.error.startswith("The files of this run are ")
        for task in (caught, good, *changing):
            # Not for ten minutes once more, as the configuration that was copied says.
            client.process(task, ["trial"], {"trial": {}})
            assert client.wait(task, interval=0.05).state == "trial_done", place.logs()


def test_an_installation_goes_back_to_its_backup(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_url: str,
    amqp_uri: str,
) -> None:
    """Over its files of afterwards, beside its broker, with a database that has more tables."""
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as place, _replica(place):
        client = _begin(place)
        kept = _new_task(client, tmp_path, b"image")
        client.process(kept, ["trial"], {"trial": {"product": "of before"}})
        assert client.wait(kept, interval=0.05).state == "trial_done", place.logs()
        files = [entry.name for entry in client.files(kept)]
        copy = tmp_path / "copy"
        dump(request, database_url, copy)
        with _backup(place) as backup:
            assert backup.stdout is not None
            archive = backup.stdout.read()
        client.upload(kept, tmp_path / "image.fits", "later.fits")
        client.process(kept, ["trial"], {"trial": {"product": "of afterwards"}})
        assert client.wait(kept, interval=0.05).state == "trial_done", place.logs()
        lost = _new_task(client, tmp_path, b"a later image")
        trace = tmp_path / "trace"
        client.process(lost, ["trial"], {"trial": {"seconds": 600, "trace": str(trace)}})
        assert wait_until(trace.exists), place.logs()
        client.process(kept, ["trial"], {"trial": {"product": "of a command that waited"}})
    database = Database(database_url)
    with database.write_engine.begin() as connection:
        connection.execute(text("CREATE TABLE of_a_newer_version (id INTEGER)"))
    database.close()
    restore(request, copy, database_url)
    _extract(archive, tmp_path)
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as place, _replica(place):
        client = _begin(place, user=False)
        assert [task.id for task in client.tasks()] == [kept]
        assert [entry.name for entry in client.files(kept)] == files
        assert client.read(kept, "product.txt") == b"of before"
        assert client.create_task(original_name="new.fits").id == lost
        assert list(client.files(lost)) == []
        # Behind the commands of before: when it has ended, nothing came of those.
        client.process(lost, ["trial"])
        assert client.wait(lost, interval=0.05).state == "trial_done", place.logs()
        assert client.read(kept, "product.txt") == b"of before"
        client.process(kept, ["trial"], {"trial": {}})
        assert client.wait(kept, interval=0.05).state == "trial_done", place.logs()
        assert trace.read_text().count("begun") == 1
    with opened(tmp_path, database_url) as gateway:
        with gateway.database.reading() as session, pytest.raises(Exception, match="newer_version"):
            session.execute(text("SELECT * FROM of_a_newer_version"))
        janitor.drop_orphans(gateway)
        assert gateway.store.tasks() == [kept, lost]
        assert len(list((gateway.store.root / ".versions").iterdir())) == 2


def test_the_manual_says_what_is_done_here() -> None:
    for words in (
        "pg_dump -Fc",
        ".backup",
        "skyrelay tasks backup > tasks.tar",
        "dropdb --force --if-exists",
        "createdb ",
        "pg_restore -d skyrelay --no-owner",
        'rm -rf "$TASKS_PATH"/.runs/*',
        'tar -C "$TASKS_PATH" -xf tasks.tar',
        "rm -f skyrelay.db-wal skyrelay.db-shm",
    ):
        assert words in PAGE


def _begin(place: Installation, *, user: bool = True) -> Client:
    """Start the gateway; a client of alice."""
    place.events()
    _, address = place.web()
    if user:
        place.user("alice")
    return place.client(address, "alice")


def _new_task(client: Client, folder: Path, content: bytes, **fields: str) -> int:
    image = folder / "image.fits"
    image.write_bytes(content)
    return client.create_task(image, **fields).id


@contextmanager
def _replica(place: Installation) -> Iterator[None]:
    """A replica of the trial service in an installation."""
    made = Replica(place.environment, place.folder / "replica.log")
    try:
        yield
    finally:
        made.end()


@contextmanager
def _backup(place: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """The command that writes the archive."""
    command = [sys.executable, "-m", "skyrelay.cli", "tasks", "backup"]
    with subprocess.Popen(
        command, cwd=PROJECT, env=place.environment, stdout=subprocess.PIPE
    ) as process:
        yield process


def _extract(archive: bytes, folder: Path) -> None:
    path = folder / "tasks.tar"
    path.write_bytes(archive)
    command = 'rm -rf "$TASKS_PATH"/.runs/* && tar -C "$TASKS_PATH" -xf tasks.tar'
    environment = {**os.environ, "TASKS_PATH": str(folder / "tasks")}
    subprocess.run(command, shell=True, cwd=folder, env=environment, check=True)


def _copy_database(request: pytest.FixtureRequest, url: str, folder: Path) -> str:
    """Back up and restore into a new database; its address."""
    copy = folder / "copy"
    dump(request, url, copy)
    restored = f"sqlite:///{folder / 'gateway.db'}"
    if not url.startswith("sqlite"):
        cluster: Cluster = request.getfixturevalue("postgres")
        restored = cluster.new_database()
        request.addfinalizer(lambda: cluster.drop(restored))
    restore(request, copy, restored)
    return restored


def _make_older(url: str) -> None:
    """A copy of last night: what is open there is not young any more."""
    database = Database(url)
    with database.writing() as session:
        for run in session.scalars(select(Run).where(IS_OPEN)):
            run.created = now() - timedelta(hours=8)
    database.close()
