"""Is an attempt claimed by one process only, and published whole or not at all?"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skyrelay.messages import Outcome
from skyrelay.store import (
    Attempt,
    AttemptBusy,
    ClaimLost,
    RunOver,
    RunUnknown,
    TaskStore,
    files,
)
from tests.support.attempts import TASK, command_of, names, record_of

#: Claims the attempt that it gets as JSON, says so, and waits to be killed.
CLAIMANT = """
import sys, time
from pathlib import Path
from skyrelay.messages import parse
from skyrelay.store import TaskStore
with TaskStore(Path(sys.argv[1])).attempt(parse(sys.argv[2])).claimed():
    print("claimed", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> TaskStore:
    made = TaskStore(tmp_path / "tasks")
    folder = made.create(TASK)
    (folder / "image.fits").write_text("image")
    (folder / "old.txt").write_text("old")
    return made


@pytest.fixture
def attempt(store: TaskStore) -> Attempt:
    return store.attempt(command_of(store))


def unused(store: TaskStore) -> list[Path]:
    current = store.folder(TASK).resolve()
    return [path for path in (store.root / ".versions").iterdir() if path.resolve() != current]


def test_products_appear_all_at_once(store: TaskStore, attempt: Attempt) -> None:
    with attempt.claimed():
        scratch = attempt.open_scratch()
        (scratch / "mask.fits").write_text("mask")
        (scratch / "old.txt").unlink()
        assert names(store) == {"image.fits", "old.txt"}
        attempt.publish(record_of(attempt))
    assert names(store) == {"image.fits", "mask.fits"}
    assert unused(store) == []
    assert store.read_config(attempt.record_key) == {"gain": 2.0}


def test_a_failed_attempt_leaves_its_log_and_nothing_else(
    store: TaskStore, attempt: Attempt
) -> None:
    with attempt.claimed():
        scratch = attempt.open_scratch()
        (scratch / "mask.fits").write_text("half a mask")
        (scratch / "inspect.log").write_text("Error!")
        attempt.publish(record_of(attempt, Outcome.FAILED), "inspect.log")
    assert names(store) == {"image.fits", "old.txt", "inspect.log"}
    assert unused(store) == []


def test_replacing_a_file_in_the_scratch_folder_leaves_the_published_one(
    store: TaskStore, attempt: Attempt
) -> None:
    with attempt.claimed():
        scratch = attempt.open_scratch()
        assert (scratch / "image.fits").stat().st_nlink == 2, "cloned by hard links, not copied"
        files.write_atomically(scratch / "image.fits", b"changed")
        assert (store.folder(TASK) / "image.fits").read_text() == "image"


def test_an_attempt_has_one_living_worker_and_a_killed_one_frees_it(
    store: TaskStore, attempt: Attempt
) -> None:
    arguments = [str(store.root), attempt.message.to_json()]
    claimant = subprocess.Popen(
        [sys.executable, "-c", CLAIMANT, *arguments], stdout=subprocess.PIPE, text=True
    )
    with claimant:
        assert claimant.stdout is not None
        assert claimant.stdout.readline() == "claimed\n"
        with pytest.raises(AttemptBusy), attempt.claimed():
            pass
        claimant.kill()
    with attempt.claimed():
        assert attempt.recorded() is None


def test_a_claim_is_not_inherited_by_what_the_science_starts(attempt: Attempt) -> None:
    with attempt.claimed():
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        with attempt.claimed():
            pass
    finally:
        child.kill()
        child.wait()


def test_a_finished_attempt_is_remembered(attempt: Attempt) -> None:
    with attempt.claimed():
        attempt.open_scratch()
        attempt.publish(record_of(attempt))
    with attempt.claimed():
        recorded = attempt.recorded()
    assert recorded is not None
    assert recorded.outcome is Outcome.DONE


def test_a_crash_after_the_swap_does_not_make_a_finished_attempt_unfinished(
    store: TaskStore, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attempt.claimed():
        attempt.open_scratch()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Attempt, "_keep_record", _raise(KeyboardInterrupt()))
            attempt.publish(record_of(attempt))
    with attempt.claimed():
        assert attempt.recorded() is not None
    assert store.read_record(attempt.record_key).outcome is Outcome.DONE


def test_a_crash_before_the_swap_leaves_nothing_behind(
    store: TaskStore, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attempt.claimed():
        (attempt.open_scratch() / "mask.fits").write_text("mask")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(files, "link_atomically", _raise(KeyboardInterrupt()))
            attempt.publish(record_of(attempt))
    assert names(store) == {"image.fits", "old.txt"}
    with attempt.claimed():
        assert attempt.recorded() is None
        attempt.open_scratch()
        attempt.publish(record_of(attempt))
    assert unused(store) == []


def test_a_full_disk_publishes_nothing_and_loses_nothing(
    store: TaskStore, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with attempt.claimed():
        (attempt.open_scratch() / "mask.fits").write_text("mask")
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(Path, "write_text", _raise(full))
            attempt.publish(record_of(attempt))
        attempt.discard()
    assert names(store) == {"image.fits", "old.txt"}
    assert unused(store) == []


def test_a_cancelled_run_neither_starts_nor_publishes(store: TaskStore, attempt: Attempt) -> None:
    run = attempt.message.run
    with attempt.claimed():
        (attempt.open_scratch() / "mask.fits").write_text("mask")
        store.cancel_run(TASK, run)
        with pytest.raises(RunOver):
            attempt.publish(record_of(attempt))
    with pytest.raises(RunOver), attempt.claimed():
        pass
    assert names(store) == {"image.fits", "old.txt"}
    attempt.clear()
    assert list(attempt.temporary_folder.iterdir()) == []


def test_a_run_that_is_not_there_is_told_from_one_that_was_cancelled(
    store: TaskStore, attempt: Attempt
) -> None:
    store.close_run(attempt.message.run)
    with pytest.raises(RunUnknown), attempt.claimed():
        pass


def test_a_superseded_attempt_says_why(attempt: Attempt) -> None:
    with attempt.claimed():
        scratch = attempt.open_scratch()
        attempt.supersede("The catalogue does not answer.")
    assert not scratch.exists()
    assert attempt.superseded() == "The catalogue does not answer."


def test_clearing_leaves_a_living_worker_alone(store: TaskStore, attempt: Attempt) -> None:
    with attempt.claimed():
        scratch = attempt.open_scratch()
        store.attempt(attempt.message).clear()
        assert scratch.exists()
    attempt.clear()
    assert not scratch.exists()


def test_the_log_of_a_dead_worker_gets_its_last_line(store: TaskStore, attempt: Attempt) -> None:
    with attempt.claimed():
        (attempt.open_scratch() / "inspect.log").write_text("It begins\n")
        attempt.log("inspect.log", "Error! The worker died.")
        attempt.publish(record_of(attempt, Outcome.FAILED), "inspect.log")
    log = (store.folder(TASK) / "inspect.log").read_text()
    assert log == "It begins\nError! The worker died.\n"


def _raise(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_superseded_attempt_publishes_nothing_even_if_its_worker_still_lives(
    store: TaskStore, attempt: Attempt
) -> None:
    with attempt.claimed():
        (attempt.open_scratch() / "new.txt").write_text("new")
        store.attempt(attempt.message).supersede("nothing was heard of it")
        (attempt.folder / "scratch").mkdir()
        with pytest.raises(ClaimLost):
            attempt.publish(record_of(attempt))
    assert not (store.folder(TASK) / "new.txt").exists()


def test_the_pieces_of_a_split_stage_begin_with_what_was_prepared(store: TaskStore) -> None:
    whole = store.attempt(command_of(store))
    with whole.claimed():
        (whole.open_scratch() / "prepared.txt").write_text("prepared")
        whole.publish_piece(record_of(whole).model_copy(update={"parts": 2}))
    assert not (store.folder(TASK) / "prepared.txt").exists(), "published before its time"
    for number in (1, 2):
        update = {"part": number, "parts": 2, "config": whole.record_key}
        part = store.attempt(whole.message.model_copy(update=update))
        with part.claimed():
            scratch = part.open_scratch()
            assert (scratch / "prepared.txt").read_text() == "prepared"
            (scratch / f"{number}.txt").write_text(str(number))
            part.publish_piece(record_of(part).model_copy(update={"part": number}))
    join = store.attempt(whole.message.model_copy(update={"part": 3, "parts": 2}))
    assert [(join.piece(n) / f"{n}.txt").read_text() for n in (1, 2)] == ["1", "2"]
    kept = join.record_of_piece(2)
    assert kept is not None and kept.part == 2
    with join.claimed():
        assert {path.name for path in join.open_scratch().iterdir()} >= {"prepared.txt"}
        join.publish(record_of(join).model_copy(update={"part": 3}))
    assert (store.folder(TASK) / "prepared.txt").exists()


def test_a_second_delivery_of_a_part_finds_its_record(store: TaskStore) -> None:
    whole = store.attempt(command_of(store))
    with whole.claimed():
        whole.open_scratch()
        whole.publish_piece(record_of(whole).model_copy(update={"parts": 2}))
    # As after a crash between the publication and the copy of the record.
    (whole.folder / "record.json").unlink()
    found = store.attempt(whole.message).recorded()
    assert found is not None and found.parts == 2


def test_the_disk_has_what_is_new_before_an_attempt_ends(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    for sync in (False, True):
        careful = TaskStore(store.root, sync=sync)
        attempt = careful.attempt(command_of(careful))
        synced.clear()
        with attempt.claimed():
            (attempt.open_scratch() / f"new-{sync}.txt").write_text("new")
            attempt.publish(record_of(attempt))
        assert (f"new-{sync}.txt" in synced) is sync
        assert "old.txt" not in synced, "it was there before"


def test_an_upload_is_on_the_disk_before_it_is_accepted(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    with store.incoming() as received:
        received.write(b"pixels")
        store.complete(received)
        assert synced == [received.fileno()]
        assert Path(received.name).read_bytes() == b"pixels"
