"""Does every store keep what all else is built on, seen from one machine and from another?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.store import AttemptBusy, ClaimLost, RunOver, RunUnknown, TaskStore, open_store
from tests.support.attempts import TASK, command_of, names, put, record_of, work
from tests.support.processes import wait_until
from tests.support.s3 import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as started:
        yield started


def _file_store(folder: Path, machine: str) -> TaskStore:
    made = open_store(Settings(_env_file=None, tasks_path=folder / "tasks"))
    made.make()
    return made


def _s3_store(folder: Path, machine: str) -> TaskStore:
    url = f"s3://{BUCKET}/{folder.name}"
    return open_store(Settings(_env_file=None, tasks_path=folder / machine, tasks_url=url))


@pytest.fixture(params=[_file_store, _s3_store], ids=["file", "s3"])
def open_again(
    request: pytest.FixtureRequest,
    server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], TaskStore]:
    """The same store, opened on the machine of this name."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return partial(request.param, tmp_path)


@pytest.fixture
def store(open_again: Callable[[str], TaskStore]) -> TaskStore:
    made = open_again("one")
    made.create(TASK)
    put(made, "image.fits", b"image")
    put(made, "old.txt", b"old")
    return made


@pytest.fixture
def other(open_again: Callable[[str], TaskStore], store: TaskStore) -> TaskStore:
    return open_again("other")


def test_products_appear_all_at_once_and_everywhere(store: TaskStore, other: TaskStore) -> None:
    attempt = store.attempt(command_of(store))
    with attempt.claimed() as first:
        assert first
        work(attempt)
        (attempt.scratch / "old.txt").unlink()
        assert names(other) == {"image.fits", "old.txt"}
        attempt.publish(record_of(attempt))
    assert names(other) == {"image.fits", "product.txt"}
    assert other.path(TASK, "product.txt").read_text() == "new"
    assert other.read_record(attempt.record_key).outcome is Outcome.DONE
    assert other.read_config(attempt.record_key) == {"gain": 2.0}


def test_what_a_stage_says_is_read_everywhere_while_it_works(
    store: TaskStore, other: TaskStore
) -> None:
    attempt = store.attempt(command_of(store))
    message, name = attempt.message, "inspect.log"

    def heard() -> bytes:
        with suppress(FileNotFoundError):
            return other.live_log(message, name)
        return b""

    with attempt.claimed():
        log = attempt.open_scratch() / name
        with attempt.shown(name):
            assert heard() == b""
            for said in (b"one\n", b"one\ntwo\n"):
                log.write_bytes(said)
                assert wait_until(lambda said=said: heard() == said)
            assert name not in names(other)
        attempt.publish(record_of(attempt))
    assert other.path(TASK, name).read_bytes() == b"one\ntwo\n"
    store.close_run(message.run)
    assert heard() == b""


def test_the_size_of_a_file_and_a_file_alone_can_be_asked_for(other: TaskStore) -> None:
    assert other.length(TASK, "image.fits") == len(b"image")
    for missing in ("none.fits", "../13/image.fits"):
        with pytest.raises(FileNotFoundError):
            other.length(TASK, missing)
    found = other.read_version(
        TASK, lambda folder: (folder / "old.txt").read_bytes(), ["old.txt", "none.txt"]
    )
    assert found == b"old"


def test_a_failed_attempt_leaves_its_log_and_nothing_more(store: TaskStore) -> None:
    attempt = store.attempt(command_of(store))
    with attempt.claimed():
        work(attempt)
        attempt.log("inspect.log", "Error!")
        attempt.publish(record_of(attempt, Outcome.FAILED), "inspect.log")
    assert names(store) == {"image.fits", "old.txt", "inspect.log"}


def test_a_second_delivery_finds_the_record_on_any_machine(
    store: TaskStore, other: TaskStore
) -> None:
    message = command_of(store)
    attempt = store.attempt(message)
    with attempt.claimed():
        work(attempt)
        attempt.publish(record_of(attempt))
    with other.attempt(message).claimed() as first:
        assert not first
        found = other.attempt(message).recorded()
    assert found is not None and found.outcome is Outcome.DONE


def test_of_two_workers_that_claim_an_attempt_at_once_one_gets_it(
    store: TaskStore, open_again: Callable[[str], TaskStore]
) -> None:
    message = command_of(store)
    machines = [open_again(f"m{n}") for n in range(4)]
    barrier, busy, got = threading.Barrier(len(machines)), [], []
    over = threading.Event()

    def claim(machine: TaskStore) -> None:
        barrier.wait()
        try:
            with machine.attempt(message).claimed():
                got.append(machine)
                over.wait(60)
        except AttemptBusy:
            busy.append(machine)

    threads = [threading.Thread(target=claim, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(busy) == len(machines) - 1)
    over.set()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_cancelled_run_neither_starts_nor_publishes(store: TaskStore) -> None:
    attempt = store.attempt(command_of(store))
    with attempt.claimed():
        work(attempt)
        store.cancel_run(TASK, attempt.message.run)
        with pytest.raises(RunOver):
            attempt.publish(record_of(attempt))
    with pytest.raises(RunOver), store.attempt(attempt.message).claimed():
        pass
    store.close_run(attempt.message.run)
    with pytest.raises(RunUnknown), store.attempt(attempt.message).claimed():
        pass
    assert list(store.runs()) == []


def test_the_runs_are_told_with_what_became_of_them(store: TaskStore, other: TaskStore) -> None:
    going, cancelled = command_of(store).run, command_of(store).run
    store.cancel_run(TASK, cancelled)
    found = {each.run: (each.is_there, each.cancelled) for each in other.runs()}
    assert found == {going: (True, False), cancelled: (True, True)}


def test_an_attempt_that_was_superseded_publishes_nothing_and_its_run_goes_on(
    store: TaskStore, other: TaskStore
) -> None:
    message = command_of(store)
    attempt = store.attempt(message)
    with attempt.claimed():
        attempt.supersede("The catalogue does not answer.")
        work(attempt)
        with pytest.raises(ClaimLost):
            attempt.publish(record_of(attempt))
        with pytest.raises(ClaimLost):
            attempt.publish_piece(record_of(attempt))
        store.cancel_run(TASK, message.run)
        with pytest.raises(RunOver):
            attempt.publish(record_of(attempt))
    assert names(other) == {"image.fits", "old.txt"}


def test_the_pieces_of_a_split_stage_are_joined_on_another_machine(
    store: TaskStore, other: TaskStore
) -> None:
    message = command_of(store)
    whole = store.attempt(message)
    with whole.claimed():
        (whole.open_scratch() / "prepared.txt").write_text("prepared")
        whole.publish_piece(record_of(whole))
    part = other.attempt(message.model_copy(update={"part": 1, "parts": 1}))
    with part.claimed():
        scratch = part.open_scratch()
        assert (scratch / "prepared.txt").read_text() == "prepared"
        (scratch / "tile.txt").write_text("tile")
        part.publish_piece(record_of(part))
    join = store.attempt(message.model_copy(update={"part": 2, "parts": 1}))
    assert join.record_of_piece(2) is None
    found = join.record_of_piece(1)
    assert found is not None and found.part == 1
    with join.claimed():
        scratch = join.open_scratch()
        (scratch / "tile.txt").write_bytes((join.piece(1) / "tile.txt").read_bytes())
        join.publish(record_of(join))
    store.close_run(message.run)
    assert other.path(TASK, "tile.txt").read_text() == "tile"
    assert other.path(TASK, "prepared.txt").read_text() == "prepared"
    assert other.path(TASK, "image.fits").read_text() == "image"


def test_paths_that_lead_out_of_the_task_are_no_files(store: TaskStore) -> None:
    for path in ("", ".", "../13/image.fits", "/etc/passwd", ".skyrelay-manifest.json", "a\0b"):
        with pytest.raises(FileNotFoundError):
            store.path(TASK, path)


def test_a_copy_of_a_task_outlives_it(store: TaskStore, other: TaskStore) -> None:
    store.duplicate(TASK, 13)
    store.delete(TASK)
    assert other.path(13, "image.fits").read_text() == "image"


def test_everybody_sees_which_tasks_are_not_settled(store: TaskStore, other: TaskStore) -> None:
    for task in (TASK, 13):
        store.unsettle(task)
    store.settle(13)
    store.settle(14)
    assert [task for task, _ in other.unsettled()] == [TASK]
    other.settle(TASK)
    assert list(store.unsettled()) == []
    assert other.path(TASK, "image.fits").read_text() == "image"
