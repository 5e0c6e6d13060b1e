"""Do the gateway's real processes bring a task through a real broker and a real stage?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from skyrelay.client import (
    Client,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    RequestRefused,
    ServerAway,
    TaskState,
)
from skyrelay.messages import RunStage
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.gateway import PASSWORD
from tests.support.processes import is_alive, wait_until
from tests.support.queues import take
from tests.support.servers import TRIAL, Installation, answers, installation
from tests.support.station import Replica, until


@pytest.fixture
def place(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Installation]:
    """An installation whose stages include the trial stage."""
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as made:
        yield made


@pytest.fixture
def replica(place: Installation) -> Iterator[Replica]:
    """A replica of the trial service in that installation."""
    made = Replica(place.environment, place.folder / "replica.log")
    yield made
    made.end()


def test_a_task_goes_through_a_real_stage_and_comes_out_measured(
    place: Installation, replica: Replica, tmp_path: Path
) -> None:
    place.events()
    _, address = place.web()
    place.command("user", "create", "alice", "--password-stdin", text=PASSWORD)
    client = place.client(address, "alice")
    assert client.token == place.command("user", "token", "alice").strip()
    image, go = tmp_path / "m51.fits", tmp_path / "go"
    image.write_bytes(b"image")
    task = client.create_task(image, title="M 51", config={"trial": {"program": until(go)}})
    assert [entry.name for entry in client.files(task.id)] == ["image.fits"]
    started = client.process(task.id, ["trial", "trial"])

    def on_progress(now: TaskState) -> None:
        if now.state == "trial":
            go.touch()

    state = client.wait(task.id, on_progress=on_progress, interval=0.05, timeout=120)
    assert (state.state, state.running, state.error) == ("trial_done", False, ""), place.logs()
    assert client.read(task.id, "second.txt") == b"second"
    assert client.download(task.id, "product.txt", tmp_path).read_bytes() == b"product"
    assert client.task(task.id).config["trial_done"] is True
    (run,) = client.runs(task.id)
    assert (run.id, run.state) == (started.celery_id, "done")
    assert [stage.values["answer"]["value"] for stage in run.stages] == [42, 42]
    assert wait_until(lambda: not list((tmp_path / "tasks" / ".runs").iterdir()))


def test_a_failed_stage_says_why_and_a_degraded_one_what_is_missing(
    place: Installation, replica: Replica
) -> None:
    place.events()
    _, address = place.web()
    place.user("alice")
    client = place.client(address, "alice")
    task = client.create_task(original_name="a.fits").id
    client.process(task, ["trial", "trial"], {"trial": {"act": "permanent"}})
    state = client.wait(task, interval=0.05)
    assert (state.state, state.error, state.failed) == (
        "trial_failed",
        "The image is broken.",
        True,
    )
    client.process(task, ["trial"], {"trial": {"degraded": "A tile failed."}})
    state = client.wait(task, interval=0.05)
    assert (state.state, state.degraded, state.failed) == ("trial_done", ["A tile failed."], False)
    client.process(task, ["trial"], {"trial": {"act": "retriable"}})
    state = client.wait(task, interval=0.05)
    assert state.failed and "catalogue does not answer" in state.error
    attempts = client.runs(task)[0].stages[0].attempts
    assert [attempt.attempt for attempt in attempts] == [1, 2, 3]


def test_cancel_ends_a_stage_in_the_middle_and_a_run_that_waits_never_starts(
    place: Installation, replica: Replica, tmp_path: Path
) -> None:
    place.events()
    _, address = place.web()
    place.user("alice")
    client = place.client(address, "alice")
    traces = [tmp_path / "trace-running", tmp_path / "trace-waiting"]
    tasks = [client.create_task(original_name="a.fits").id for _ in traces]
    for task, trace in zip(tasks, traces, strict=True):
        order = {"seconds": 600, "children": True, "trace": str(trace)}
        client.process(task, ["trial"], {"trial": order})
        if trace is traces[0]:
            assert wait_until(lambda: _has_begun(traces[0])), place.logs()
    worker = int(traces[0].read_text().split()[1])
    assert client.cancel(tasks[1]) == 1
    assert client.cancel(tasks[0]) == 1
    assert client.state(tasks[0]).state == "cancelled"
    assert wait_until(lambda: not is_alive(worker))
    with pytest.raises(RequestRefused, match="Task is not running"):
        client.cancel(tasks[0])
    third = client.create_task(original_name="b.fits").id
    client.process(third, ["trial"])
    assert client.wait(third, interval=0.05).state == "trial_done"
    assert not traces[1].exists()
    assert [entry.name for entry in client.files(tasks[0])] == []


def _has_begun(trace: Path) -> bool:
    """Whether the science has left its first line; the file is there a moment before."""
    return trace.exists() and bool(trace.read_text())


def test_a_message_outlives_a_gateway_that_dies_before_it_is_published(
    tmp_path: Path, database_url: str, broker: BrokerNode
) -> None:
    broker.start()  # A test before us may have stopped it.
    uri = broker.add_vhost("outbox")
    (nowhere,) = free_ports(1)
    away = f"amqp://guest:guest@{LOOPBACK}:{nowhere}//"
    try:
        with installation(tmp_path, database_url, away, **TRIAL) as first:
            server, address = first.web()
            first.user("alice")
            client = first.client(address, "alice")
            task = client.create_task(original_name="a.fits").id
            run = client.process(task, ["trial"]).celery_id
            server.kill()
        with installation(tmp_path, database_url, uri, **TRIAL) as second:
            second.web()
            (command,) = take(uri, "work.trial")
        assert isinstance(command, RunStage)
        assert (str(command.run), command.task) == (run, task)
    finally:
        broker.delete_vhost("outbox")


def test_the_gateway_waits_for_a_broker_that_comes_later(
    tmp_path: Path, database_url: str, broker: BrokerNode
) -> None:
    broker.start()
    uri = broker.add_vhost("later")
    broker.stop()
    try:
        with installation(tmp_path, database_url, uri, **TRIAL) as place:
            (port,) = free_ports(1)
            events = place.events(SKYRELAY_HEALTH_PORT=str(port))
            _, address = place.web()
            place.user("alice")
            client = place.client(address, "alice")
            task = client.create_task(original_name="a.fits").id
            client.process(task, ["trial"])
            assert wait_until(lambda: answers(f"http://{LOOPBACK}:{port}/livez"))
            assert not answers(f"http://{LOOPBACK}:{port}/healthz")
            broker.start()
            replica = Replica(place.environment, tmp_path / "replica.log")
            try:
                state = client.wait(task, timeout=120)
            finally:
                replica.end()
            assert state.state == "trial_done", place.logs()
            assert wait_until(lambda: answers(f"http://{LOOPBACK}:{port}/readyz"))
            assert events.stop() == 0
    finally:
        broker.start()
        broker.delete_vhost("later")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_kill_is_published_when_a_running_task_is_deleted(
    place: Installation, replica: Replica, tmp_path: Path
) -> None:
    place.events()
    _, address = place.web()
    place.user("alice")
    client = place.client(address, "alice")
    trace = tmp_path / "trace"
    task = client.create_task(original_name="a.fits").id
    client.process(task, ["trial"], {"trial": {"seconds": 600, "trace": str(trace)}})
    assert wait_until(lambda: _has_begun(trace)), place.logs()
    worker = int(trace.read_text().split()[1])
    client.delete(task)
    assert wait_until(lambda: not is_alive(worker))
    with pytest.raises(NotFound):
        client.state(task)
    assert not (tmp_path / "tasks" / str(task)).exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_client_says_what_is_wrong(place: Installation, tmp_path: Path) -> None:
    server, address = place.web()
    place.user("alice")
    place.user("eve")
    with pytest.raises(NotAuthenticated, match="Unable to log in"):
        Client.login(address, "alice", "wrong")
    client = place.client(address, "alice")
    eve = place.client(address, "eve")
    task = client.create_task(original_name="a.fits").id
    with pytest.raises(Forbidden, match="Permission denied"):
        eve.state(task)
    with pytest.raises(NotFound):
        client.read(task, "nothing.fits")
    with pytest.raises(RequestRefused, match="Invalid step: dance"):
        client.process(task, ["dance"])
    with pytest.raises(RequestRefused, match="sn: 'x' is not allowed"):
        client.create_task(original_name="b.fits", config={"sn": "x"})
    client.process(task, ["trial"])
    with pytest.raises(Conflict, match="already processing"):
        client.upload(task, Path(__file__))
    with Client(address, "0" * 40) as stranger, pytest.raises(NotAuthenticated):
        stranger.state(task)
    assert [found.id for found in client.tasks(query="a.fits")] == [task]
    assert server.stop() == 0
    with pytest.raises(ServerAway):
        client.state(task)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_large_upload_is_streamed(place: Installation, tmp_path: Path) -> None:
    server, address = place.web()
    place.user("alice")
    client = place.client(address, "alice")
    large = tmp_path / "large.fits"
    with large.open("wb") as file:
        file.truncate(300 * 1024**2)
    task = client.create_task(large).id
    with requests.get(
        f"{address}/api/tasks/{task}/files/image.fits",
        headers={"Authorization": f"Token {client.token}", "Range": "bytes=-10"},
        timeout=30,
    ) as answer:
        assert (answer.status_code, answer.content) == (206, b"\0" * 10)
    assert _peak_memory(server.pid) < 200


def _peak_memory(pid: int) -> float:
    """The largest resident memory of a process or one of its children, MiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    peaks = []
    for each in (str(pid), *children):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peaks.append(int(line.split()[1]) / 1024)
    return max(peaks)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_a_secret_the_gateway_says_so(place: Installation) -> None:
    place.environment["SECRET_KEY"] = ""
    server = place.events()
    assert wait_until(lambda: not server.running)
    assert "SECRET_KEY is missing" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_a_client_follows_a_run_and_its_stream_does_not_keep_the_server_up(
    place: Installation, replica: Replica, tmp_path: Path
) -> None:
    place.events()
    server, address = place.web()
    place.user("alice")
    client = place.client(address, "alice")
    task = client.create_task(original_name="a.fits").id
    with closing(client.follow(task)) as stream:
        assert next(stream).state == "initial"
        go = tmp_path / "go"
        client.process(task, ["trial"], {"trial": {"program": until(go)}})
        assert "trial" in (state.state for state in stream)
        go.touch()
        assert "trial_done" in (state.state for state in stream)
        assert server.stop() == 0
    assert not server.running
