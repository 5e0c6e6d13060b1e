"""Does a task's folder stay whole, whoever looks and whatever dies?"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from skyrelay.store import StoreMissing, TaskStore, files
from tests.support.mounts import unmounted

TASK = 12


@pytest.fixture
def store(tmp_path: Path) -> TaskStore:
    made = TaskStore(tmp_path / "tasks")
    folder = made.create(TASK)
    for number in range(30):
        (folder / f"{number:02}.fits").touch()
    return made


def _publish(store: TaskStore, number: int) -> None:
    """What an attempt does when it publishes."""
    before = store.folder(TASK).resolve()
    after = before.with_name(f"{TASK}-{number}")
    with store.locked(TASK):
        files.clone_tree(before, after)
        files.link_atomically(f".versions/{after.name}", store.folder(TASK))
        files.remove(before)


def test_a_listing_is_of_one_version_while_others_are_published(store: TaskStore) -> None:
    stopped = threading.Event()

    def publish() -> None:
        number = 0
        while not stopped.is_set():
            _publish(store, number)
            number += 1

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        counts = {len(store.entries(TASK)) for _ in range(500)}
    finally:
        stopped.set()
        publisher.join()
    assert counts == {30}


def test_a_task_that_is_gone_has_no_files(store: TaskStore) -> None:
    store.delete(TASK)
    assert store.entries(TASK) == []


def _left(store: TaskStore) -> list[str]:
    folders = (".versions", ".locks")
    return sorted(path.name for name in folders for path in (store.root / name).iterdir())


def test_files_come_and_go_only_while_nobody_else_has_the_task(store: TaskStore) -> None:
    """Else a clone made under the lock may find a name of which the file is gone."""

    def bring() -> None:
        with store.incoming() as received:
            store.adopt(TASK, "new.fits", received)

    before = store.entries(TASK)
    changes = [
        threading.Thread(target=bring),
        threading.Thread(target=store.remove, args=(TASK, "00.fits")),
    ]
    with store.locked(TASK):
        for change in changes:
            change.start()
        for change in changes:
            change.join(0.2)
        assert store.entries(TASK) == before
    for change in changes:
        change.join()
    assert {entry.name for entry in store.entries(TASK)} == {
        *(f"{number:02}.fits" for number in range(1, 30)),
        "new.fits",
    }


def test_what_crashes_left_of_a_version_is_removed_and_the_linked_one_stays(
    store: TaskStore,
) -> None:
    linked = store.folder(TASK).resolve().name
    for name in (f"{TASK}-never-linked", f"{TASK}-before", "7-of-a-deleted-task"):
        (store.root / ".versions" / name).mkdir()
    (store.root / f".{TASK}.0a1b2c3d").symlink_to(".versions/half")
    store.create(120)
    assert store.orphans() == {7, TASK}
    for task in store.orphans():
        store.drop_orphans(task, gone=task == 7)
    assert set(_left(store)) == {linked, store.folder(120).resolve().name, str(TASK), "120"}
    assert not list(store.root.glob(".12.*"))
    assert len(store.entries(TASK)) == 30
    assert store.orphans() == set()


def test_half_a_link_is_found_beside_a_task_that_is_whole(store: TaskStore) -> None:
    half = store.root / f".{TASK}.0a1b2c3d"
    half.symlink_to(".versions/of-a-worker-that-died-before-the-swap")
    assert store.orphans() == {TASK}
    store.drop_orphans(TASK, gone=False)
    assert not half.is_symlink()
    assert len(store.entries(TASK)) == 30


def test_no_version_is_removed_while_the_link_of_its_task_leads_nowhere(store: TaskStore) -> None:
    """A restore may have brought the one and not the other."""
    good = store.folder(TASK).resolve()
    files.link_atomically(".versions/12-of-another-moment", store.folder(TASK))
    assert store.orphans() == set()
    store.drop_orphans(TASK, gone=False)
    assert good.is_dir()
    files.link_atomically(f".versions/{good.name}", store.folder(TASK))
    assert len(store.entries(TASK)) == 30


def test_no_version_is_removed_while_the_link_of_its_task_is_none(store: TaskStore) -> None:
    """Copies that follow links make folders of them; other tasks are cleared all the same."""
    good = store.folder(TASK).resolve()
    store.folder(TASK).unlink()
    store.folder(TASK).mkdir()
    (store.root / ".versions" / "7-of-a-deleted-task").mkdir()
    assert 7 in store.orphans()
    store.drop_orphans(TASK, gone=False)
    assert good.is_dir()


def test_a_lock_goes_with_its_task_and_only_then(store: TaskStore) -> None:
    store.drop_orphans(TASK, gone=True)
    assert (store.root / ".locks" / str(TASK)).exists(), "its folder is there"
    store.delete(TASK)
    store.drop_orphans(TASK, gone=False)
    assert store.orphans() == {TASK}
    store.drop_orphans(TASK, gone=True)
    assert _left(store) == []


def test_a_lock_excludes_although_its_file_is_removed_again_and_again(store: TaskStore) -> None:
    path = store.root / ".locks" / "99"
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(200):
            with files.locked(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
                path.unlink()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_the_trash_is_emptied_of_however_much_is_in_it(store: TaskStore) -> None:
    trash = store.root / ".trash"
    for number in range(1200):
        (trash / f"-rf {number}").mkdir()
        (trash / f"-rf {number}" / "file").touch()
    (trash / "link").symlink_to(store.folder(TASK))
    store.empty_trash()
    assert list(trash.iterdir()) == []
    assert len(store.entries(TASK)) == 30, "a link is removed, not what it points to"


def test_the_same_folder_may_be_thrown_away_by_two(store: TaskStore) -> None:
    version = store.folder(TASK).resolve()
    for _ in range(2):
        files.throw_away(version, store.root / ".trash")
    assert len(list((store.root / ".trash").iterdir())) == 1


def test_what_is_found_in_no_folder_is_not_taken_for_nothing(tmp_path: Path) -> None:
    """Also by those who look for each file by itself, and miss none."""
    store = TaskStore(tmp_path / "tasks")
    store.create(1)

    def look(folder: Path) -> list[Path]:
        return list(folder.glob("*.vot"))

    assert store.read_version(1, look) == []
    with pytest.raises(FileNotFoundError):
        store.read_version(2, look)
    with unmounted(store.root), pytest.raises(StoreMissing):
        store.read_version(1, look)
