"""Do a task and its files come and go together, whatever becomes of the transaction?"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.models import Task, now
from gateway.orchestration import janitor
from tests.support.gateway import Bench, Caller, opened
from tests.support.proxy import Proxy, proxy

_KEY = {"Idempotency-Key": "my own text"}

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def line(database_url: str) -> Iterator[Proxy]:
    """What lies between the gateway and its database."""
    with proxy(database_url) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, database_url: str, line: Proxy) -> Iterator[Bench]:
    """A gateway whose line to its database may break."""
    with opened(tmp_path, line.uri(database_url), skyrelay_offline=True) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


@pytest.fixture
def clean_up_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A round of the janitor, when everybody has had the time to come back."""

    def clean_up() -> None:
        janitor.drop_orphans(bench.gateway)
        with monkeypatch.context() as patched:
            patched.setattr(janitor, "now", lambda: now() + timedelta(hours=1))
            janitor.drop_orphans(bench.gateway)
        assert list(bench.store.unsettled()) == []

    return clean_up


def _break_at_commit(caller: Caller, line: Proxy, *, answered: bool) -> None:
    # Who connects commits, too: of the connections that the request needs none must be new.
    caller.get("tasks/")
    line.break_at("COMMIT", answered=answered)


def _upload(caller: Caller) -> Any:
    data = {"file": (io.BytesIO(b"FITS"), "a.fits")}
    return caller.post("tasks/", data=data, headers=_KEY)


def _image(caller: Caller, task: int) -> bytes:
    with caller.get(f"tasks/{task}/files/image.fits") as answer:
        return answer.data


def _folders(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.store.root.iterdir() if path.name.isdecimal())


def test_a_task_that_was_committed_keeps_its_image_although_the_answer_was_lost(
    bench: Bench, alice: Caller, line: Proxy, clean_up_later: Callable[[], None]
) -> None:
    _break_at_commit(alice, line, answered=True)
    assert _upload(alice).status_code == 503
    again = _upload(alice)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert _image(alice, again.json["id"]) == b"FITS"
    clean_up_later()
    assert _image(alice, again.json["id"]) == b"FITS"


def test_the_image_of_a_task_that_was_not_committed_is_left_to_the_janitor(
    bench: Bench, alice: Caller, line: Proxy, clean_up_later: Callable[[], None]
) -> None:
    _break_at_commit(alice, line, answered=False)
    assert _upload(alice).status_code == 503
    assert alice.get("tasks/").json == []
    janitor.drop_orphans(bench.gateway)
    assert len(_folders(bench)) == 1, "its transaction may still be going on"
    made = _upload(alice).json["id"]
    clean_up_later()
    assert _folders(bench) == [str(made)]
    assert _image(alice, made) == b"FITS"


def test_a_copy_that_was_committed_keeps_its_files_although_the_answer_was_lost(
    bench: Bench, alice: Caller, line: Proxy, clean_up_later: Callable[[], None]
) -> None:
    task = _upload(alice).json["id"]
    _break_at_commit(alice, line, answered=True)
    assert alice.post(f"tasks/{task}/duplicate/").status_code == 503
    copy, _ = (each["id"] for each in alice.get("tasks/").json)
    clean_up_later()
    assert _image(alice, copy) == b"FITS"


def test_nothing_is_left_of_a_task_that_could_not_be_made(
    bench: Bench, alice: Caller, line: Proxy, clean_up_later: Callable[[], None]
) -> None:
    line.break_at("INSERT INTO audit", answered=False)
    assert _upload(alice).status_code == 503
    clean_up_later()
    assert _folders(bench) == []
    assert list(bench.store.unsettled()) == []


def _delete(caller: Caller, task: int) -> int:
    return caller("DELETE", f"tasks/{task}/").status_code


def _delete_with_others(caller: Caller, task: int) -> int:
    return caller.post("tasks/actions/", json={"action": "delete", "ids": [task]}).status_code


@pytest.mark.parametrize("delete", [_delete, _delete_with_others])
def test_a_task_whose_deletion_was_not_committed_keeps_its_files(
    bench: Bench,
    alice: Caller,
    line: Proxy,
    clean_up_later: Callable[[], None],
    delete: Callable[[Caller, int], int],
) -> None:
    task = _upload(alice).json["id"]
    _break_at_commit(alice, line, answered=False)
    assert delete(alice, task) == 503
    assert _image(alice, task) == b"FITS"
    clean_up_later()
    assert _image(alice, task) == b"FITS"
    assert delete(alice, task) in (200, 204)
    assert _folders(bench) == []


def test_the_files_of_a_task_whose_deletion_was_committed_unheard_are_left_to_the_janitor(
    bench: Bench, alice: Caller, line: Proxy, clean_up_later: Callable[[], None]
) -> None:
    task = _upload(alice).json["id"]
    alice.process(task, "inspect")
    _break_at_commit(alice, line, answered=True)
    assert _delete(alice, task) == 503
    assert _delete(alice, task) == 404
    assert bench.kill().task == task
    clean_up_later()
    assert _folders(bench) == []


def test_a_store_that_does_not_delete_keeps_nobody_from_deleting_a_task(
    bench: Bench, alice: Caller, clean_up_later: Callable[[], None]
) -> None:
    task = _upload(alice).json["id"]
    lock = bench.store.root / ".locks" / str(task)
    lock.unlink()
    lock.mkdir()  # To lock it is an error of the file system, whoever we are.
    assert _delete(alice, task) == 204
    assert _folders(bench) == [str(task)]
    lock.rmdir()
    clean_up_later()
    assert _folders(bench) == []


def test_a_folder_of_which_this_database_knows_nothing_is_left_alone(
    bench: Bench, clean_up_later: Callable[[], None]
) -> None:
    """It may have been brought back to a state from before the task, or be another one."""
    bench.store.create(7)
    clean_up_later()
    assert _folders(bench) == ["7"]
    with bench.gateway.database.reading() as session:
        assert session.get(Task, 7) is None
