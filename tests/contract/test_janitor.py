"""What does the janitor take away, and what does it leave?"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event

from gateway.models import Run, now
from gateway.orchestration import janitor
from skyrelay.errors import Retriable
from skyrelay.store import StoreMissing
from tests.support.gateway import Bench, Caller, runs_on_disk
from tests.support.mounts import LEFT_BEHIND, unmounted


def test_a_run_whose_gateway_died_in_the_middle_of_its_cancel_is_cancelled(
    bench: Bench, alice: Caller
) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    command = bench.command()
    # Marked in the store, and never committed.
    bench.store.cancel_run(task, command.run)
    janitor.clean_up(bench.gateway)
    assert alice.state(task)["celery_id"] == run, "its transaction may still be going on"
    long_ago = time.time() - 120
    os.utime(bench.store.root / ".runs" / run, (long_ago, long_ago))
    janitor.clean_up(bench.gateway)
    assert alice.state(task) == {"id": task, "state": "cancelled", "celery_id": None}
    assert str(bench.kill().run) == run
    _age(bench, run, ended=now() - timedelta(minutes=2))
    janitor.clean_up(bench.gateway)
    assert runs_on_disk(bench.gateway) == set()


def test_the_janitor_takes_away_what_ended_runs_have_left(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    alice.post(f"tasks/{task}/cancel/")
    janitor.clean_up(bench.gateway)
    assert runs_on_disk(bench.gateway) == {UUID(run)}
    _age(bench, run, ended=now() - timedelta(hours=1))
    janitor.clean_up(bench.gateway)
    assert runs_on_disk(bench.gateway) == set()


def test_the_janitor_asks_the_database_a_few_times_however_many_runs_there_are(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "_CHUNK", 20)
    runs = [alice.process(alice.new_task()).json["celery_id"] for _ in range(3)]
    for number in range(57):
        bench.store.create_run(UUID(int=number), {})
    asked = []
    event.listen(bench.gateway.database.engine, "begin", asked.append)
    janitor.clean_up(bench.gateway)
    assert len(asked) <= 1 + 60 / 20
    monkeypatch.setattr(janitor, "_ORPHAN", timedelta())
    janitor.clean_up(bench.gateway)
    assert runs_on_disk(bench.gateway) == {UUID(run) for run in runs}


def test_the_janitor_takes_away_what_is_left_of_deleted_tasks_and_dead_stages(
    bench: Bench, alice: Caller
) -> None:
    deleted, kept = alice.new_task(), alice.new_task()
    alice("DELETE", f"tasks/{deleted}/")
    versions, locks = bench.store.root / ".versions", bench.store.root / ".locks"
    (versions / f"{kept}-dead").mkdir()
    (versions / f"{deleted}-dead").mkdir()
    janitor.drop_orphans(bench.gateway)
    assert list(versions.iterdir()) == [bench.store.folder(kept).resolve()]
    assert [path.name for path in locks.iterdir()] == [str(kept)]
    janitor.empty_trash(bench.gateway)
    assert list((bench.store.root / ".trash").iterdir()) == []


def test_the_janitor_ends_a_run_whose_folder_is_gone(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    bench.store.close_run(UUID(run))
    janitor.clean_up(bench.gateway)
    assert alice.state(task)["celery_id"] == run
    _age(bench, run, created=now() - timedelta(hours=1))
    janitor.clean_up(bench.gateway)
    state = alice.state(task)
    assert (state["state"], state["celery_id"]) == ("inspect_failed", None)


@pytest.mark.parametrize("left", [(), LEFT_BEHIND], ids=["empty", "left behind"])
def test_no_run_fails_because_the_file_system_of_the_tasks_is_not_mounted(
    bench: Bench, alice: Caller, left: Sequence[str]
) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    command = bench.command()
    _age(bench, run, created=now() - timedelta(hours=1))
    ended = bench.finished(command)
    with unmounted(bench.store.root, left):
        assert not bench.store.answers()
        with pytest.raises(StoreMissing):
            janitor.clean_up(bench.gateway)
        with pytest.raises(Retriable):
            bench.hear(ended)
        assert alice.post(f"tasks/{task}/cancel/").status_code == 503
        upload = {"file": (io.BytesIO(b"image"), "image.fits")}
        assert alice.post("tasks/", data=upload).status_code == 503
        assert alice.get(f"tasks/{task}/files/").status_code == 503
        assert alice.state(task)["celery_id"] == run
    assert bench.store.answers()
    janitor.clean_up(bench.gateway)
    bench.hear(ended)
    assert alice.state(task)["state"] == "inspect_done"
    assert bench.command().step == "photometry"


def test_no_run_fails_because_the_folder_of_all_runs_is_missing(
    bench: Bench, alice: Caller
) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    _age(bench, run, created=now() - timedelta(hours=1))
    runs = bench.store.root / ".runs"
    runs.rename(bench.store.root / "elsewhere")
    assert not bench.store.answers()
    with pytest.raises(StoreMissing):
        janitor.clean_up(bench.gateway)
    assert alice.state(task)["celery_id"] == run


def _age(bench: Bench, run: str, **moments: Any) -> None:
    with bench.gateway.database.writing() as session:
        found = session.get_one(Run, run)
        for name, value in moments.items():
            setattr(found, name, value)
