"""Is an archive of the store whole, whatever happens while it is written?"""

from __future__ import annotations

import io
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from skyrelay.store import StoreMissing, TaskStore, files
from skyrelay.store.backup import BackupBusy, write_archive
from tests.support.mounts import unmounted

TASKS = range(1, 9)
PRODUCTS = {f"{number:02}.fits": bytes([number]) * 1000 for number in range(20)}


@pytest.fixture
def store(tmp_path: Path) -> TaskStore:
    made = TaskStore(tmp_path / "tasks")
    for task in TASKS:
        _fill(made, task, PRODUCTS)
    return made


def _fill(store: TaskStore, task: int, content: dict[str, bytes]) -> None:
    folder = store.create(task)
    for name, data in content.items():
        (folder / name).write_bytes(data)


def _publish(store: TaskStore, task: int) -> None:
    """What an attempt does when it publishes."""
    before = store.folder(task).resolve()
    after = store.new_version(task)
    with store.locked(task):
        files.clone_tree(before, after)
        files.link_atomically(f".versions/{after.name}", store.folder(task))
        files.remove(before)


def _upload(store: TaskStore, task: int) -> None:
    with store.incoming() as received:
        received.write(PRODUCTS["07.fits"])
        received.flush()
        store.adopt(task, "07.fits", received)


def _archive(store: TaskStore) -> bytes:
    out = io.BytesIO()
    assert write_archive(store, out) == {}
    return out.getvalue()


def _restore(archive: bytes, folder: Path) -> TaskStore:
    """As the manual says."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-C", folder, "-xf", "-"], input=archive, check=True)
    return TaskStore(folder, make=False)


def _content(store: TaskStore, task: int) -> dict[str, bytes]:
    folder = store.folder(task)
    return {entry.name: (folder / entry.name).read_bytes() for entry in store.entries(task)}


@pytest.mark.parametrize("change", [_publish, _upload])
def test_every_task_is_whole_although_it_changes_all_the_time(
    store: TaskStore, tmp_path: Path, change: Callable[[TaskStore, int], None]
) -> None:
    stopped = threading.Event()

    def keep_changing() -> None:
        while not stopped.is_set():
            for task in TASKS:
                change(store, task)

    changing = threading.Thread(target=keep_changing)
    changing.start()
    try:
        archives = [_archive(store) for _ in range(20)]
    finally:
        stopped.set()
        changing.join()
    for number, archive in enumerate(archives):
        restored = _restore(archive, tmp_path / str(number))
        assert restored.tasks() == list(TASKS)
        for task in TASKS:
            assert _content(restored, task) == PRODUCTS
        assert restored.orphans() == set()
        assert restored.answers()


def test_files_of_every_kind_of_name_and_size_come_back_as_they_were(
    store: TaskStore, tmp_path: Path
) -> None:
    folder = store.folder(3)
    (folder / "deep").mkdir()
    names = [b"a" * 200 + b".fits", "Größe.txt".encode(), b"\xff.bin", b"deep/x.fits", b".hidden"]
    for size, name in enumerate(names):
        path = folder / os.fsdecode(name)
        path.write_bytes(b"x" * 512 * size)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (folder / "empty").mkdir()
    found = _restore(_archive(store), tmp_path / "new").folder(3)
    for size, name in enumerate(names):
        path = found / os.fsdecode(name)
        assert path.read_bytes() == b"x" * 512 * size
        assert path.stat().st_mtime == 1_700_000_000
        assert path.stat().st_mode == (folder / os.fsdecode(name)).stat().st_mode
    assert (found / "empty").is_dir()


def test_a_task_whose_link_leads_nowhere_is_named_and_the_others_are_saved(
    store: TaskStore, tmp_path: Path
) -> None:
    files.remove(store.folder(5).resolve())
    store.delete(6)
    out = io.BytesIO()
    assert set(write_archive(store, out)) == {5}
    restored = _restore(out.getvalue(), tmp_path / "new")
    assert restored.tasks() == [task for task in TASKS if task not in (5, 6)]


def test_a_task_that_was_deleted_while_the_archive_was_written_is_not_missed(
    store: TaskStore, tmp_path: Path
) -> None:
    out = _Listening(lambda name: name == b"4" and store.delete(7))
    assert write_archive(store, out) == {}
    restored = _restore(out.getvalue(), tmp_path / "new")
    assert restored.tasks() == [task for task in TASKS if task != 7]


def test_half_an_archive_makes_no_store(store: TaskStore, tmp_path: Path) -> None:
    archive = _archive(store)
    folder = tmp_path / "new"
    folder.mkdir()
    half = archive[: len(archive) // 2]
    done = subprocess.run(["tar", "-C", folder, "-xf", "-"], input=half, capture_output=True)
    assert done.returncode != 0
    assert TaskStore(folder, make=False).tasks()
    with pytest.raises(StoreMissing):
        _archive(TaskStore(folder, make=False))


def test_a_store_in_use_becomes_what_it_was_and_keeps_tasks_made_since(
    store: TaskStore, tmp_path: Path
) -> None:
    archive = _archive(store)
    (store.folder(1) / "later.txt").write_text("not there then")
    (store.folder(2) / "03.fits").unlink()
    _publish(store, 3)
    store.delete(4)
    _fill(store, 20, {"new.fits": b"new"})
    restored = _restore(archive, store.root)
    for task in restored.orphans():
        restored.drop_orphans(task, gone=False)
    for task in TASKS:
        assert _content(restored, task) == PRODUCTS
    assert _content(restored, 20) == {"new.fits": b"new"}
    assert len(list((store.root / ".versions").iterdir())) == len(restored.tasks())


def test_only_one_archive_is_written_at_a_time_and_nothing_is_left_of_it(store: TaskStore) -> None:
    refused = []

    def write_another(name: bytes) -> None:
        if name == b"4":
            with pytest.raises(BackupBusy) as caught:
                write_archive(store, io.BytesIO())
            refused.append(caught)

    write_archive(store, _Listening(write_another))
    assert refused
    assert not (store.root / ".backup").exists()
    # Of one that was killed.
    (store.root / ".backup").mkdir()
    (store.root / ".backup" / "of another task.fits").touch()
    assert b"of another task" not in _archive(store)


def test_nothing_is_written_where_the_store_is_not_mounted(store: TaskStore) -> None:
    out = io.BytesIO()
    with unmounted(store.root, ()), pytest.raises(StoreMissing):
        write_archive(store, out)
    assert out.getvalue() == b""


class _Listening(io.BytesIO):
    """Tells of each header of an archive by the name in it."""

    def __init__(self, tell: Callable[[bytes], object]) -> None:
        super().__init__()
        self._tell = tell

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        if len(data) == 512:
            self._tell(data[:100].rstrip(b"\0"))
        return super().write(data)
