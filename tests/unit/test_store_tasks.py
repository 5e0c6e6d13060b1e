"""Does a task's folder stay whole, whoever looks and whatever dies?"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from skyrelay.store import TaskStore, files

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
