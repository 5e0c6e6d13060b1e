"""Does the gateway ask little of S3, and keep nobody waiting for it, where the tasks are there?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from gateway.models import Run, now
from gateway.orchestration import janitor
from skyrelay import episodes
from skyrelay.store.s3.tasks import S3TaskStore
from tests.support.gateway import Bench, Caller, opened
from tests.support.s3 import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as started:
        yield started


@pytest.fixture
def bench(
    tmp_path: Path, database_url: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A gateway whose tasks are in S3."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    with opened(tmp_path, database_url, tasks_url=url, skyrelay_offline=True) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The requests to S3 that are made inside this context, by their operation."""
    made: Counter[str] = Counter()
    episodes.listen(lambda episode: made.update([episode.name]))
    try:
        yield made
    finally:
        episodes.listen(None)


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
