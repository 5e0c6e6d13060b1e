"""Does the gateway ask little of S3, and keep nobody waiting for it, where the tasks are there?"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy import Connection, event, update

from gateway.followups.intake import taking
from gateway.models import Run, now
from gateway.orchestration import janitor
from skyrelay import episodes
from skyrelay.episodes import Episode
from skyrelay.store.s3.tasks import S3TaskStore
from tests.support.gateway import Bench, Caller, opened
from tests.support.processes import wait_until
from tests.support.proxy import Proxy, proxy
from tests.support.s3 import BUCKET, S3Server, counted, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as started:
        yield started


@pytest.fixture
def line(server: S3Server) -> Iterator[Proxy]:
    """What lies between the gateway and S3."""
    with proxy(server.address) as made:
        yield made


@pytest.fixture
def bench(
    tmp_path: Path,
    database_url: str,
    server: S3Server,
    line: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    """A gateway whose tasks are in S3."""
    for name, value in server.environment(line.uri(server.address)).items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    with opened(tmp_path, database_url, tasks_url=url, skyrelay_offline=True) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


@dataclass
class Noted:
    """What was asked of S3: requests by their operation, and bytes of all together."""

    requests: Counter[str] = field(default_factory=Counter)
    size: int = 0

    def note(self, episode: Episode) -> None:
        self.requests[episode.name] += 1
        self.size += episode.size


@contextmanager
def told_apart(bench: Bench) -> Iterator[tuple[Noted, Noted]]:
    """What is asked of S3 in transactions that write to the database, and beside them."""
    inside, beside = Noted(), Noted()
    writing: set[int] = set()

    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("skyrelay_writes"):
            writing.add(id(connection))

    def ended(connection: Connection) -> None:
        writing.discard(id(connection))

    watched = {"begin": begun, "commit": ended, "rollback": ended}
    engine = bench.gateway.database.engine
    for name, heard in watched.items():
        event.listen(engine, name, heard)
    episodes.listen(lambda episode: (inside if writing else beside).note(episode))
    try:
        yield inside, beside
    finally:
        episodes.listen(None)
        for name, heard in watched.items():
            event.remove(engine, name, heard)


def _age_runs(bench: Bench) -> None:
    with bench.gateway.database.writing() as session:
        session.execute(update(Run).values(created=now() - timedelta(hours=1)))


def test_the_janitor_lists_the_bucket_once_however_many_runs_are_open(
    bench: Bench, alice: Caller
) -> None:
    for _ in range(3):
        alice.process(alice.new_task())
    _age_runs(bench)
    with counted() as asked:
        janitor.clean_up(bench.gateway)
    assert asked == {"ListObjectsV2": 1}


def test_a_run_of_which_the_configuration_is_gone_is_ended(bench: Bench, alice: Caller) -> None:
    lost, kept = alice.new_task(), alice.new_task()
    run = UUID(alice.process(lost).json["celery_id"])
    alice.process(kept)
    _age_runs(bench)
    store = bench.store
    assert isinstance(store, S3TaskStore)
    store.bucket.put(f".runs/{run}/0-inspect-0-1/claim.json", b"{}")
    store.bucket.delete([f".runs/{run}/config.json"])
    janitor.clean_up(bench.gateway)
    assert [bench.state(task) for task in (lost, kept)] == ["inspect_failed", "running"]


#: Bytes; whoever sends so many in a transaction sends a file.
_MUCH = 100_000


def _image() -> bytes:
    content = io.BytesIO()
    fits.writeto(content, np.zeros((300, 300), np.float32))
    return content.getvalue()


def _create(caller: Caller, **fields: Any) -> Any:
    return caller.post("tasks/", data={"file": (io.BytesIO(_image()), "a.fits"), **fields})


def _create_with_run(bench: Bench, caller: Caller, task: int) -> None:
    assert _create(caller, steps="inspect").status_code == 201


def _upload(bench: Bench, caller: Caller, task: int) -> None:
    data = {"file": (io.BytesIO(_image()), "a.fits")}
    assert caller.post(f"tasks/{task}/files/custom_template.fits", data=data).status_code == 201


def _draw_mask(bench: Bench, caller: Caller, task: int) -> None:
    areas = [{"x": 10, "y": 10, "width": 20, "height": 20}]
    assert caller.post(f"tasks/{task}/mask/image/", json={"areas": areas}).status_code == 200


def _take(bench: Bench, caller: Caller, task: int) -> None:
    (bench.gateway.settings.data_path / "b.fits").write_bytes(_image())
    made = caller.post("batches/", json={"files": ["b.fits"], "steps": ["inspect"]})
    assert made.status_code == 202, made.json
    assert taking.take(bench.gateway)


@pytest.mark.parametrize("change", [_create_with_run, _upload, _draw_mask, _take])
def test_no_file_goes_to_s3_or_comes_from_it_while_a_transaction_is_open(
    bench: Bench, alice: Caller, change: Callable[[Bench, Caller, int], None]
) -> None:
    task = _create(alice).json["id"]
    with told_apart(bench) as (inside, beside):
        change(bench, alice, task)
    assert inside.requests.total() <= 7, inside.requests
    assert set(inside.requests) <= {"GetObject", "PutObject", "ListObjectsV2"}
    assert inside.size < _MUCH < beside.size


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_others_write_while_s3_does_not_take_an_upload(
    bench: Bench, alice: Caller, bob: Caller, line: Proxy
) -> None:
    task = bob.new_task()
    line.reset()
    line.swallow_all()
    answers: list[Any] = []
    uploading = threading.Thread(target=lambda: answers.append(_create(alice)))
    uploading.start()
    try:
        assert wait_until(lambda: line._living())
        changed = bob("PATCH", f"tasks/{task}/", json={"title": "meanwhile"})
        assert (changed.status_code, answers) == (200, [])
    finally:
        line.heal()
        uploading.join()
    assert [answer.status_code for answer in answers] == [201]
