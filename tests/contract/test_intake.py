"""Do files become tasks by themselves: whole, once, whatever happens in between?"""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy import func, select

from gateway.followups.intake import looking, taking
from gateway.models import Task
from tests.support.disk import SmallDisk, small_disk
from tests.support.gateway import Bench, Caller, opened
from tests.support.mounts import unmounted
from tests.support.plans import plans


@pytest.fixture(name="bench")
def a_bench_that_settles_at_once(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """A gateway that takes a file as soon as two looks find the same."""
    with opened(tmp_path, database_url, skyrelay_watch_settle=0.0) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system that holds the tasks' folder; ask for it before the bench."""
    with small_disk(tmp_path / "tasks") as made:
        yield made


@pytest.fixture
def incoming(bench: Bench) -> Path:
    """A folder in the data folder."""
    folder = bench.gateway.settings.data_path / "incoming"
    folder.mkdir()
    return folder


def _image(seed: int = 1) -> bytes:
    data = np.random.default_rng(seed).normal(100, 5, (64, 64)).astype(np.float32)
    return b"".join(_hdus(data))


def _hdus(data: Any) -> Iterator[bytes]:
    primary = fits.PrimaryHDU(data)
    yield primary.header.tostring().encode()
    content = data.astype(">f4").tobytes()
    yield content + bytes(-len(content) % 2880)


def _work(bench: Bench, looks: int = 2) -> None:
    for _ in range(looks):
        looking.look(bench.gateway)
    while taking.take(bench.gateway):
        pass


def _watch(admin: Caller, **fields: Any) -> dict[str, Any]:
    answer = admin.post("watches/", json={"folder": "incoming", **fields})
    assert answer.status_code == 201, answer.json
    assert isinstance(answer.json, dict)
    return answer.json


def _files(admin: Caller, watch: dict[str, Any]) -> list[dict[str, Any]]:
    return list(admin.get(f"watches/{watch['id']}/").json["files"])


def _tasks(bench: Bench) -> int:
    with bench.gateway.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Task)) or 0


def test_a_new_file_becomes_a_task_that_runs(bench: Bench, admin: Caller, incoming: Path) -> None:
    preset = admin.post("presets/", json={"name": "deep", "config": {"sn": 3}}).json["id"]
    watch = _watch(admin, preset=preset, steps=["inspect"], config={"gain": 2})
    (incoming / "a.fits").write_bytes(_image())
    _work(bench)
    (file,) = _files(admin, watch)
    assert file["state"] == "taken"
    task = admin.get(f"tasks/{file['task']}/").json
    assert (task["original_name"], task["user"]) == ("a.fits", "admin")
    assert task["config"] == {"sn": 3, "gain": 2}
    assert bench.command().task == file["task"]
    assert bench.store.path(file["task"], "image.fits").read_bytes() == _image()


def test_a_file_that_is_still_being_written_waits(
    bench: Bench, admin: Caller, incoming: Path
) -> None:
    watch = _watch(admin)
    whole = _image()
    path = incoming / "slow.fits"
    for part in (10, 3000, len(whole) - 3000):
        path.write_bytes(whole[:part])
        _work(bench, looks=3)
        assert _tasks(bench) == 0
        assert {each["state"] for each in _files(admin, watch)} == {"seen"}
    path.write_bytes(whole)
    _work(bench)
    assert [each["state"] for each in _files(admin, watch)] == ["taken"]


def test_a_packed_file_is_taken_when_all_of_it_is_there(
    bench: Bench, admin: Caller, incoming: Path
) -> None:
    _watch(admin)
    packed = gzip.compress(_image())
    (incoming / "p.fits.gz").write_bytes(packed[:-20])
    _work(bench, looks=3)
    assert _tasks(bench) == 0
    (incoming / "p.fits.gz").write_bytes(packed)
    _work(bench)
    assert _tasks(bench) == 1


def test_a_file_is_a_task_once_however_often_it_is_looked_at_or_renamed(
    bench: Bench, admin: Caller, incoming: Path
) -> None:
    watch = _watch(admin)
    (incoming / "a.fits").write_bytes(_image())
    for _ in range(3):
        _work(bench)
    (incoming / "a.fits").rename(incoming / "b.fits")
    os.utime(incoming / "b.fits")
    _work(bench)
    assert _tasks(bench) == 1
    second, first = _files(admin, watch)
    assert (first["state"], second["state"]) == ("taken", "duplicate")
    assert second["task"] == first["task"]
    (incoming / "b.fits").write_bytes(_image(seed=2))
    _work(bench)
    assert _tasks(bench) == 2


def test_only_visible_fits_files_that_fit_the_pattern_are_taken(
    bench: Bench, admin: Caller, incoming: Path, tmp_path: Path
) -> None:
    _watch(admin, pattern="sci*")
    for name in (".sci_part.fits", "flat.fits", "sci.txt", "sci_1.fits"):
        (incoming / name).write_bytes(_image())
    (tmp_path / "secret.fits").write_bytes(_image(seed=3))
    (incoming / "sci_link.fits").symlink_to(tmp_path / "secret.fits")
    _work(bench)
    assert _tasks(bench) == 1


def test_a_batch_makes_a_task_of_every_file(bench: Bench, alice: Caller, incoming: Path) -> None:
    for number in range(3):
        (incoming / f"{number}.fits").write_bytes(_image(number))
    answer = alice.post("batches/", json={"folder": "incoming", "steps": ["inspect"]})
    assert answer.status_code == 202
    assert answer.json["counts"]["ready"] == 3
    (incoming / "1.fits").unlink()
    _work(bench)
    batch = alice.get(f"batches/{answer.json['id']}/").json
    assert (batch["counts"]["taken"], batch["counts"]["refused"]) == (2, 1)
    assert [each["reason"] for each in batch["files"]] == ["", "It is gone.", ""]
    assert len(bench.commands()) == 2


def test_no_more_files_become_tasks_than_the_users_quota_allows(
    bench: Bench, incoming: Path
) -> None:
    carol = bench.caller("carol", quota_tasks=1)
    for seed in (1, 2):
        (incoming / f"{seed}.fits").write_bytes(_image(seed))
    batch = carol.post("batches/", json={"folder": "incoming"}).json
    _work(bench)
    files = carol.get(f"batches/{batch['id']}/").json["files"]
    assert [file["state"] for file in files] == ["taken", "refused"]
    assert "quota of tasks" in files[1]["reason"]
    assert _tasks(bench) == 1


def test_a_file_of_a_watched_folder_waits_for_room_in_every_quota(
    bench: Bench, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carol = bench.caller("carol", is_staff=True, quota_tasks=2, quota_runs=1)
    watch = _watch(carol, steps=["inspect"])
    for seed in (1, 2, 3):
        (incoming / f"{seed}.fits").write_bytes(_image(seed))
    _work(bench)

    def states() -> list[str]:
        return [file["state"] for file in reversed(_files(carol, watch))]

    assert states() == ["taken", "waiting", "waiting"]
    assert "quota of runs" in _files(carol, watch)[0]["reason"]
    # What waits is not looked at again before its time, and then once, without being copied.
    taking.try_again(bench.gateway)
    assert not taking.take(bench.gateway)
    monkeypatch.setattr(taking, "PAUSE", timedelta(0))
    with monkeypatch.context() as patched:
        patched.setattr(type(bench.store), "incoming", lambda _: pytest.fail("it was copied"))
        taking.try_again(bench.gateway)
        _work(bench, looks=1)
    assert states() == ["taken", "waiting", "waiting"]
    bench.hear(bench.finished(bench.command()))
    taking.try_again(bench.gateway)
    _work(bench, looks=1)
    assert states() == ["taken", "taken", "waiting"]
    assert "quota of tasks" in _files(carol, watch)[0]["reason"]
    first, second = (_files(carol, watch)[place]["task"] for place in (2, 1))
    bench.hear(bench.finished(bench.command()))
    carol("DELETE", f"tasks/{first}/")
    taking.try_again(bench.gateway)
    _work(bench, looks=1)
    assert states() == ["taken", "taken", "taken"]
    assert carol.get(f"tasks/{second}/").status_code == 200


def test_files_that_wait_are_found_without_looking_at_all_others(bench: Bench) -> None:
    with plans("FROM intake_files") as found:
        taking.try_again(bench.gateway)
    assert len(found) == 1 and "ix_intake_files_waiting" in found[0]


def test_a_batch_waits_for_runs_to_end(
    bench: Bench, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "PAUSE", timedelta(0))
    carol = bench.caller("carol", quota_runs=1)
    for seed in (1, 2):
        (incoming / f"{seed}.fits").write_bytes(_image(seed))
    batch = carol.post("batches/", json={"folder": "incoming", "steps": ["inspect"]}).json["id"]
    _work(bench)
    assert carol.get(f"batches/{batch}/").json["counts"]["waiting"] == 1
    bench.hear(bench.finished(bench.command()))
    taking.try_again(bench.gateway)
    _work(bench)
    assert carol.get(f"batches/{batch}/").json["counts"]["taken"] == 2


def test_a_batch_that_makes_no_sense_is_refused(alice: Caller, eve: Caller, incoming: Path) -> None:
    for fields in (
        {},
        {"folder": "incoming"},
        {"folder": "../.."},
        {"folder": "nowhere"},
        {"files": ["../secret"]},
        {"files": ["incoming/none.fits"]},
    ):
        assert alice.post("batches/", json=fields).status_code == 400
    (incoming / "a.fits").write_bytes(_image())
    answer = alice.post("batches/", json={"folder": "incoming", "steps": ["dance"]})
    assert answer.status_code == 400
    batch = alice.post("batches/", json={"files": ["incoming/a.fits"]}).json["id"]
    assert eve.get(f"batches/{batch}/").status_code == 403


def test_folders_are_watched_for_staff_only(
    bench: Bench, admin: Caller, alice: Caller, incoming: Path
) -> None:
    assert alice.post("watches/", json={"folder": "incoming"}).status_code == 403
    watch = _watch(admin)
    assert alice.get(f"watches/{watch['id']}/").status_code == 403
    admin("PATCH", f"watches/{watch['id']}/", json={"active": False})
    (incoming / "a.fits").write_bytes(_image())
    _work(bench)
    assert _tasks(bench) == 0
    assert admin("DELETE", f"watches/{watch['id']}/").status_code == 204
    assert admin.get("watches/").json == []


def test_a_file_waits_for_a_store_that_is_away(bench: Bench, admin: Caller, incoming: Path) -> None:
    _watch(admin)
    (incoming / "a.fits").write_bytes(_image())
    for _ in range(2):
        looking.look(bench.gateway)
    with unmounted(bench.store.root), pytest.raises(OSError, match="not mounted"):
        taking.take(bench.gateway)
    _work(bench)
    assert [task["original_name"] for task in admin.get("tasks/").json] == ["a.fits"]


@pytest.mark.parametrize("away", ["incoming", "data"])
def test_files_of_a_watched_folder_that_was_away_for_a_moment_become_tasks(
    bench: Bench, admin: Caller, incoming: Path, away: str
) -> None:
    watch = _watch(admin)
    for seed in range(3):
        (incoming / f"{seed}.fits").write_bytes(_image(seed))
    for _ in range(2):
        looking.look(bench.gateway)
    with unmounted(incoming if away == "incoming" else incoming.parent):
        _work(bench)
        assert {(file["state"], file["reason"]) for file in _files(admin, watch)} == {
            ("seen", "It is gone.")
        }
    _work(bench, looks=1)
    assert {(file["state"], file["reason"]) for file in _files(admin, watch)} == {("taken", "")}
    assert _tasks(bench) == 3


def test_a_file_of_a_watched_folder_that_cannot_be_read_for_a_while_becomes_a_task(
    bench: Bench, admin: Caller, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "PAUSE", timedelta(0))
    watch = _watch(admin)
    (incoming / "a.fits").write_bytes(_image())
    for _ in range(2):
        looking.look(bench.gateway)
    with monkeypatch.context() as failing:
        failing.setattr(Path, "open", _failing_with(errno.EIO))
        assert taking.take(bench.gateway)
    (file,) = _files(admin, watch)
    assert (file["state"], file["reason"]) == (
        "waiting",
        "It cannot be read: Input/output error.",
    )
    taking.try_again(bench.gateway)
    _work(bench)
    assert [file["state"] for file in _files(admin, watch)] == ["taken"]


def _failing_with(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_of_a_watched_folder_waits_for_the_files_of_its_preset(
    bench: Bench, admin: Caller, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "PAUSE", timedelta(0))
    flat = incoming.parent / "flat.fits"
    flat.write_bytes(_image(seed=9))
    preset = admin.post("presets/", json={"name": "flat", "files": ["flat.fits"]}).json["id"]
    watch = _watch(admin, preset=preset)
    (incoming / "a.fits").write_bytes(_image())
    flat.rename(flat.with_name("away.fits"))
    with monkeypatch.context() as patched:
        patched.setattr(type(bench.store), "incoming", lambda _: pytest.fail("it was copied"))
        _work(bench)
    (file,) = _files(admin, watch)
    assert file["state"] == "waiting" and "flat.fits" in file["reason"]
    flat.with_name("away.fits").rename(flat)
    taking.try_again(bench.gateway)
    _work(bench)
    assert [file["state"] for file in _files(admin, watch)] == ["taken"]


def test_files_wait_for_room_on_the_disk_and_only_one_of_them_is_copied_to_find_that_out(
    disk: SmallDisk,
    bench: Bench,
    admin: Caller,
    incoming: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taking, "PAUSE", timedelta(0))
    watch = _watch(admin)
    for seed in range(3):
        (incoming / f"{seed}.fits").write_bytes(_image(seed))
    for _ in range(2):
        looking.look(bench.gateway)
    disk.fill()
    assert taking.take(bench.gateway)
    assert not taking.take(bench.gateway)
    files = _files(admin, watch)
    assert {(file["state"], file["reason"]) for file in files} == {
        ("waiting", "There is no room left on the disk.")
    }
    disk.make_room()
    taking.try_again(bench.gateway)
    _work(bench)
    assert {file["state"] for file in _files(admin, watch)} == {"taken"}
