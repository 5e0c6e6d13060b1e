"""Does the store in S3 keep its promises, against a real server and whatever goes wrong with it?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from skyrelay import episodes, logs
from skyrelay.messages import RunStage
from skyrelay.store import AttemptBusy, ClaimLost, RunOver, figures
from skyrelay.store.presence import StoreAway
from skyrelay.store.s3 import bucket, lease
from skyrelay.store.s3.bucket import Bucket, Conflict
from skyrelay.store.s3.manifest import UPLOADS
from skyrelay.store.s3.tasks import SEARCHED, S3TaskStore
from tests.support.attempts import TASK, command_of, names, put, record_of, work
from tests.support.authority import authority
from tests.support.figures import Growth
from tests.support.lines import log_as_json
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.support.s3 import BUCKET, S3Server, counted, s3_server

GIB = 2**30

#: Claims the attempt that it gets as JSON, says so, works, and publishes when it is told to.
WORKER = """
import sys
from pathlib import Path
from skyrelay.messages import parse
from skyrelay.store.s3.tasks import S3TaskStore
from tests.support.attempts import record_of
attempt = S3TaskStore(Path(sys.argv[1]), sys.argv[2], cache=1e9).attempt(parse(sys.argv[3]))
with attempt.claimed() as first:
    scratch = attempt.open_scratch()
    (scratch / "product.txt").write_text(sys.argv[4])
    print("claimed", first, flush=True)
    sys.stdin.readline()
    attempt.publish(record_of(attempt))
print("published", flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def store(tmp_path: Path, url: str) -> S3TaskStore:
    made = S3TaskStore(tmp_path / "one", url, cache=GIB)
    made.create(TASK)
    put(made, "image.fits", b"image")
    put(made, "old.txt", b"old")
    return made


@pytest.fixture
def other(tmp_path: Path, url: str, store: S3TaskStore) -> S3TaskStore:
    """The same store on another machine."""
    return S3TaskStore(tmp_path / "other", url, cache=GIB)


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    port = int(server.address.rpartition(":")[2])
    made = Proxy(("127.0.0.1", port))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    yield made
    made.close()


@contextmanager
def worker(folder: Path, url: str, message: RunStage, text: str) -> Iterator[Any]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), url, message.model_dump_json(), text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_file_that_no_stage_has_touched_is_not_sent_again(store: S3TaskStore) -> None:
    before = store.manifest(TASK).files["image.fits"]
    attempt = store.attempt(command_of(store))
    with attempt.claimed():
        work(attempt)
        attempt.publish(record_of(attempt))
    assert store.manifest(TASK).files["image.fits"] == before


def test_who_asks_for_little_does_not_load_much(store: S3TaskStore, other: S3TaskStore) -> None:
    assert other.length(TASK, "image.fits") == len(b"image")
    assert other.has(TASK, "image.fits") and other.size(TASK) == len(b"image" + b"old")
    assert other.read_version(TASK, _names_in, ["old.txt"]) == {"old.txt"}
    assert other.read_version(TASK, _names_in) == {"image.fits", "old.txt"}


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_log_that_cannot_be_shown_for_a_while_is_shown_later(
    store: S3TaskStore, other: S3TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_before, refused = Bucket.put, []

    def refuse_once(self: Bucket, key: str, body: bytes) -> None:
        if not refused:
            refused.append(key)
            raise StoreAway("S3 does not answer")
        put_before(self, key, body)

    attempt = store.attempt(command_of(store))
    with attempt.claimed():
        (attempt.open_scratch() / "inspect.log").write_text("said")
        monkeypatch.setattr(Bucket, "put", refuse_once)
        with attempt.shown("inspect.log"):
            assert wait_until(lambda: other.bucket.find(attempt.live_log_key) is not None)
    assert refused == [attempt.live_log_key]
    assert other.live_log(attempt.message, "inspect.log") == b"said"


def test_clients_of_threads_that_have_ended_are_forgotten(store: S3TaskStore) -> None:
    for _ in range(8):
        thread = threading.Thread(target=store.bucket.answers)
        thread.start()
        thread.join()
    # The kernel may need a moment after Python to let a thread go.
    assert len(store.bucket._clients) <= 4


def test_a_crash_between_publication_and_record_does_not_lose_the_record(
    store: S3TaskStore, other: S3TaskStore
) -> None:
    message = command_of(store)
    attempt = store.attempt(message)
    with attempt.claimed():
        work(attempt)
        attempt.publish(record_of(attempt))
    store.bucket.delete([attempt.record_key])
    assert other.attempt(message).recorded() is not None
    assert store.bucket.find(attempt.record_key) is not None


def test_a_worker_that_was_taken_for_dead_cannot_publish(
    store: S3TaskStore, other: S3TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = command_of(store)
    stale, successor = store.attempt(message), other.attempt(message)
    with stale.claimed():
        work(stale, "stale")
        monkeypatch.setattr(lease, "PATIENCE", -1.0)
        with successor.claimed() as first:
            assert not first
            with pytest.raises(ClaimLost):
                stale.publish(record_of(stale))
            with pytest.raises(ClaimLost):
                stale.supersede("The catalogue does not answer.")
            work(successor, "successor")
            stale.clear()
            successor.publish(record_of(successor))
        with pytest.raises(ClaimLost):
            stale.publish(record_of(stale))
    assert store.path(TASK, "product.txt").read_text() == "successor"
    assert successor.superseded() is None


def test_an_attempt_that_another_worker_has_published_is_not_superseded(
    store: S3TaskStore, other: S3TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the claim and its mark the worker stands still."""
    stale = store.attempt(command_of(store))
    successor = other.attempt(stale.message)
    put_before = store.bucket.put

    def late(key: str, body: bytes) -> None:
        monkeypatch.setattr(lease, "PATIENCE", -1.0)
        with successor.claimed():
            work(successor, "successor")
            successor.publish(record_of(successor))
        put_before(key, body)

    with stale.claimed():
        work(stale, "stale")
        monkeypatch.setattr(store.bucket, "put", late)
        with pytest.raises(ClaimLost):
            stale.supersede("The catalogue does not answer.")
    assert store.path(TASK, "product.txt").read_text() == "successor"


def test_a_claim_that_is_lost_is_said_with_the_attempt_although_a_thread_renews_it(
    store: S3TaskStore,
    other: S3TaskStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_as_json(monkeypatch)
    message = command_of(store)
    monkeypatch.setattr(lease, "_RENEWAL", 0.5)
    with logs.about(message), store.attempt(message).claimed(), ExitStack() as stack:
        monkeypatch.setattr(lease, "PATIENCE", -1.0)
        said: list[str] = []

        def lines() -> list[dict[str, object]]:
            said.extend(capsys.readouterr().err.splitlines())
            return [json.loads(each) for each in said if "was taken by another worker" in each]

        def taken() -> bool:
            """Whether the claim could be taken; a renewal may come between the look and that."""
            with suppress(AttemptBusy):
                stack.enter_context(other.attempt(message).claimed())
                return True
            return False

        assert wait_until(taken)
        assert wait_until(lambda: bool(lines()))
    (line,) = lines()
    assert (line["task"], line["run"], line["stage"], line["attempt"]) == (
        message.task,
        str(message.run),
        message.step,
        message.attempt,
    )


@pytest.mark.parametrize("loss", [ClaimLost, RunOver])
def test_a_write_that_was_prepared_before_the_right_was_lost_fails(
    store: S3TaskStore, other: S3TaskStore, monkeypatch: pytest.MonkeyPatch, loss: type[Exception]
) -> None:
    """Between its last look at the marks and its write the worker stands still."""
    message = command_of(store)
    stale = store.attempt(message)
    put_after = store.bucket.put_after
    key = store.manifest_key(TASK)
    lost = False

    def late(where: str, body: bytes, etag: str | None) -> str:
        nonlocal lost
        if where == key and not lost:
            lost = True
            if loss is RunOver:
                other.cancel_run(TASK, message.run)
            else:
                with other.attempt(message).claimed():
                    pass
        return put_after(where, body, etag)

    with stale.claimed():
        work(stale)
        monkeypatch.setattr(lease, "PATIENCE", -1.0)
        monkeypatch.setattr(store.bucket, "put_after", late)
        with pytest.raises(loss):
            stale.publish(record_of(stale))
    assert lost
    assert names(store) == {"image.fits", "old.txt"}


def test_a_killed_worker_is_followed_at_once_on_its_machine_and_later_on_another(
    store: S3TaskStore, other: S3TaskStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = command_of(store)
    with worker(store.root, url, message, "never") as process:
        assert process.stdout.readline() == "claimed True\n"
        with pytest.raises(AttemptBusy), store.attempt(message).claimed():
            pass
        process.kill()
        process.wait()
    with pytest.raises(AttemptBusy), other.attempt(message).claimed():
        pass
    attempt = store.attempt(message)
    with attempt.claimed() as first:
        assert not first
        assert attempt.recorded() is None
        work(attempt, "second")
        attempt.publish(record_of(attempt))
    assert other.path(TASK, "product.txt").read_text() == "second"
    with other.attempt(message).claimed() as first:
        assert not first


def test_a_worker_killed_in_the_middle_of_its_publication_leaves_all_as_it_was(
    store: S3TaskStore, other: S3TaskStore, proxy: Proxy, url: str
) -> None:
    message = command_of(store)
    with worker(other.root, url, message, "never") as process:
        assert process.stdout.readline() == "claimed True\n"
        proxy.stop_at(f"PUT /{BUCKET}/{url.rpartition('/')[2]}/{store.manifest_key(TASK)}")
        process.stdin.write("publish\n")
        process.stdin.flush()
        assert wait_until(lambda: proxy.swallowing)
        process.kill()
        process.wait()
    # Nothing of what it has said arrives any more.
    proxy.reset()
    proxy.heal()
    assert any("product" in each.key for each in store.bucket.listing(f"{TASK}/objects/"))
    assert names(store) == {"image.fits", "old.txt"}
    again = other.attempt(message)
    with again.claimed() as first:
        assert not first
        assert again.recorded() is None
        work(again, "second")
        again.publish(record_of(again))
    assert store.path(TASK, "product.txt").read_text() == "second"


def test_a_task_that_was_deleted_is_not_brought_back_by_a_publication(store: S3TaskStore) -> None:
    attempt = store.attempt(command_of(store))
    with attempt.claimed():
        work(attempt)
        store.delete(TASK)
        with pytest.raises(RunOver):
            attempt.publish(record_of(attempt))
    assert names(store) == set()
    assert not store.folder(TASK).exists()
    store.drop_orphans(TASK, gone=True)


def test_a_large_file_goes_and_comes_in_parts(
    store: S3TaskStore, other: S3TaskStore, server: S3Server
) -> None:
    content = os.urandom(2 * bucket._PART + 17)
    put(store, "large.fits", content)
    assert other.path(TASK, "large.fits").read_bytes() == content
    key = store.manifest(TASK).files["large.fits"].key
    folder = store.bucket._prefix
    assert "-3" in server.client().head_object(Bucket=BUCKET, Key=folder + key)["ETag"]


def test_each_request_is_counted_with_its_time_its_bytes_and_how_it_ended(
    url: str, tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "_TRIES", 1)
    counted = Bucket(url)
    grown, name = Growth(), "skyrelay_store_seconds_count"
    episodes.listen(figures.count)
    try:
        counted.put("figures/a", b"x" * 1000)
        assert counted.get("figures/a").body == b"x" * 1000
        # Neither that it is not there nor that somebody was faster is a failure.
        assert counted.find("figures/b") is None
        with pytest.raises(Conflict):
            counted.put_after("figures/a", b"y", None)
        assert grown(name, operation="PutObject", ending="ok") == 2
        assert grown("skyrelay_store_bytes_total", operation="PutObject") == 1001
        assert grown(name, operation="GetObject", ending="ok") >= 2
        assert grown("skyrelay_store_bytes_total", operation="GetObject") >= 1000
        assert grown("skyrelay_store_seconds_sum", operation="PutObject") > 0
        large = tmp_path / "large"
        with large.open("wb") as file:
            file.truncate(bucket._PART + 1)
        counted.upload(large, "figures/large")
        assert grown(name, operation="UploadPart", ending="ok") == 2
        assert grown("skyrelay_store_bytes_total", operation="UploadPart") == bucket._PART + 1
        proxy.refuse()
        assert not counted.answers()
        assert grown(name, operation="ListObjectsV2", ending="failed") == 1
    finally:
        episodes.listen(None)


def test_every_operation_of_a_store_is_known_before_it_is_asked(
    store: S3TaskStore, other: S3TaskStore, server: S3Server
) -> None:
    large = b"x" * (bucket._PART + 1)
    abandoned = store.bucket._prefix + "1/objects/0/half.fits"
    with counted() as asked:
        put(store, "large.fits", large)
        assert other.path(TASK, "large.fits").read_bytes() == large
        store.duplicate(TASK, 20)
        store.delete(20)
        server.client().create_multipart_upload(Bucket=BUCKET, Key=abandoned)
        store.drop_incoming(datetime.now(UTC) + timedelta(seconds=5))
    assert set(asked) == set(figures.OPERATIONS)


def test_of_a_run_whose_configuration_is_gone_it_is_said_that_something_is_left(
    store: S3TaskStore,
) -> None:
    message = command_of(store)
    with store.attempt(message).claimed():
        store.bucket.delete([message.config])
        (found,) = store.runs()
    assert (found.run, found.is_there) == (message.run, False)


def test_a_presigned_address_serves_ranges_and_the_name_of_the_file(
    tmp_path: Path, url: str, store: S3TaskStore
) -> None:
    redirecting = S3TaskStore(tmp_path / "gateway", url, cache=GIB, redirect=True)
    address = redirecting.address(TASK, "image.fits")
    assert address is not None and store.address(TASK, "image.fits") is None
    answer = requests.get(address, headers={"Range": "bytes=1-3"}, timeout=60)
    assert (answer.status_code, answer.content) == (206, b"mag")
    assert "image.fits" in answer.headers["Content-Disposition"]
    with pytest.raises(FileNotFoundError):
        redirecting.address(TASK, "absent.fits")


def _objects(store: S3TaskStore) -> set[str]:
    """The keys of all that is, or was, a file of the task, or is to become one."""
    places = (f"{TASK}/objects/", UPLOADS)
    return {item.key for place in places for item in store.bucket.listing(place)}


def test_what_was_brought_is_sent_once_and_goes_with_its_task(store: S3TaskStore) -> None:
    message = command_of(store)
    brought = store.manifest(TASK).files["image.fits"]
    first = store.attempt(message)
    with first.claimed():
        work(first)
        first.publish_piece(record_of(first))
    join = store.attempt(message.model_copy(update={"part": 2, "parts": 1}))
    with join.claimed():
        work(join)
        join.publish(record_of(join))
    assert store.manifest(TASK).files["image.fits"] == brought
    assert brought.key in _objects(store)
    store.delete(TASK)
    assert _objects(store) == set()


def test_what_crashes_have_left_is_removed_and_nothing_else(
    store: S3TaskStore, monkeypatch: pytest.MonkeyPatch, server: S3Server
) -> None:
    put(store, "old.txt", b"newer")
    with store.incoming() as received:
        store.complete(received)
    store.bucket.put(f"{TASK}/objects/0/never.txt", b"never published")
    key = store.bucket._prefix + f"{TASK}/objects/1/half.fits"
    server.client().create_multipart_upload(Bucket=BUCKET, Key=key)
    assert set(store.orphans()) == set()
    store.bucket.delete([SEARCHED])
    monkeypatch.setattr("skyrelay.store.s3.tasks._YOUNG", timedelta(seconds=-5))
    assert set(store.orphans()) == {TASK}
    store.drop_orphans(TASK, gone=False)
    store.drop_incoming(datetime.now(UTC) + timedelta(seconds=5))
    assert _objects(store) == {stored.key for stored in store.manifest(TASK).files.values()}
    assert store.path(TASK, "old.txt").read_text() == "newer"
    uploads = server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=key)
    assert not uploads.get("Uploads")


def test_what_no_manifest_names_is_looked_for_once_a_day_by_one_of_all_processes(
    store: S3TaskStore, other: S3TaskStore, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {TASK, 20, 21, 22}
    for task in tasks - {TASK}:
        store.create(task)
    for task in tasks:
        store.bucket.put(f"{task}/objects/0/never.txt", b"never published")
    with counted() as asked:
        assert set(store.orphans()) == set()
    # The mark of the look before, and of no task its manifest: all objects are young.
    assert asked == {"GetObject": 1, "PutObject": 1, "ListObjectsV2": 2}
    monkeypatch.setattr("skyrelay.store.s3.tasks._YOUNG", timedelta(seconds=-5))
    for each in (store, other):
        with counted() as asked:
            assert set(each.orphans()) == set()
        assert asked == {"GetObject": 1}
    server.let_look_aged(25 * 3600)
    try:
        with counted() as asked:
            assert set(other.orphans()) == tasks
    finally:
        server.let_look_aged(0)
    assert asked == {"GetObject": 1 + len(tasks), "PutObject": 1, "ListObjectsV2": 2}


def test_what_is_left_of_a_task_is_told_before_the_next_task_is_looked_at(
    store: S3TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(20)
    for task in (TASK, 20):
        store.bucket.put(f"{task}/objects/0/never.txt", b"never published")
    monkeypatch.setattr("skyrelay.store.s3.tasks._YOUNG", timedelta(seconds=-5))
    with counted() as asked:
        found = iter(store.orphans())
        assert next(found) == TASK
        assert asked["GetObject"] == 2
        assert list(found) == [20]
        assert asked["GetObject"] == 3


def test_of_two_who_begin_to_look_at_the_same_moment_one_does(
    store: S3TaskStore, other: S3TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket.put(f"{TASK}/objects/0/never.txt", b"never published")
    monkeypatch.setattr("skyrelay.store.s3.tasks._YOUNG", timedelta(seconds=-5))
    put_after, faster = store.bucket.put_after, set()

    def late(key: str, body: bytes, etag: str | None) -> str:
        faster.update(other.orphans())
        return put_after(key, body, etag)

    monkeypatch.setattr(store.bucket, "put_after", late)
    assert set(store.orphans()) == set()
    assert faster == {TASK}


def test_the_mirror_stays_within_its_bounds(
    tmp_path: Path, url: str, store: S3TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyrelay.store.s3.tasks._IN_USE", -1.0)
    small = S3TaskStore(tmp_path / "small", url, cache=100_000)
    for task in range(20, 26):
        small.create(task)
        with small.incoming() as received:
            received.write(b"x" * 40_000)
            small.complete(received)
            small.adopt(task, "image.fits", received)
        small._looked = -1000.0
        assert small.path(task, "image.fits").stat().st_size == 40_000
    held = sum(p.stat().st_size for p in small.root.rglob("image.fits"))
    assert held <= 100_000
    assert small.path(20, "image.fits").stat().st_size == 40_000


def test_busy_answers_and_broken_connections_are_tried_again(
    store: S3TaskStore, server: S3Server, proxy: Proxy, tmp_path: Path, url: str
) -> None:
    server.be_busy(2)
    through = S3TaskStore(tmp_path / "through", url, cache=GIB)
    assert through.path(TASK, "image.fits").read_text() == "image"
    content = os.urandom(300_000)
    put(store, "image.fits", content)
    proxy.delay = 0.02
    broken = threading.Timer(0.15, proxy.reset)
    broken.start()
    assert through.path(TASK, "image.fits").read_bytes() == content
    broken.join()


def test_a_server_that_is_away_is_an_error_of_the_store(
    proxy: Proxy, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, store: S3TaskStore
) -> None:
    monkeypatch.setattr(bucket, "_TRIES", 2)
    through = S3TaskStore(tmp_path / "through", url, cache=GIB)
    assert through.answers()
    proxy.refuse()
    assert not through.answers()
    with pytest.raises(StoreAway):
        through.create_run(uuid4(), {})
    proxy.accept_again()
    assert through.answers()


def test_our_own_write_is_known_again_when_its_answer_was_lost(store: S3TaskStore) -> None:
    first = store.bucket.put_after("probe", b"one", None)
    assert store.bucket.put_after("probe", b"one", None) == first
    with pytest.raises(Conflict):
        store.bucket.put_after("probe", b"two", None)
    second = store.bucket.put_after("probe", b"two", first)
    assert store.bucket.put_after("probe", b"two", first) == second
    with pytest.raises(Conflict):
        store.bucket.put_after("probe", b"three", first)


def test_an_address_that_names_no_bucket_is_refused() -> None:
    for url in ("http://bucket", "s3:///prefix", "bucket"):
        with pytest.raises(ValueError, match="s3://bucket/prefix"):
            Bucket(url)


def test_tls_is_spoken_and_only_with_the_right_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "_TRIES", 1)
    with s3_server(tmp_path / "tls.log", authority(tmp_path / "ours")) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/tls"
        assert not S3TaskStore(tmp_path / "distrustful", url, cache=GIB).answers()
        monkeypatch.setenv("AWS_CA_BUNDLE", str(server.authority))
        store = S3TaskStore(tmp_path / "trusting", url, cache=GIB)
        store.create(TASK)
        put(store, "image.fits", b"image")
        assert store.path(TASK, "image.fits").read_bytes() == b"image"
