"""Is work that nobody speaks of any more noticed, and done all the same?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from skyrelay.broker.connection import connect
from skyrelay.client import Client
from skyrelay.messages import Outcome
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import wait_until
from tests.support.report import Report
from tests.support.servers import TRIAL, Installation, installation, status
from tests.support.station import Replica, Station

#: The databases differ in how they lock; both are tried in tests/contract. Here is the usual one.
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

#: Seconds without a sign of life; of the retry delays, the longest comes on top.
SILENCE = 2


@pytest.fixture
def place(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Installation]:
    with installation(tmp_path, database_url, amqp_uri, **TRIAL, skyrelay_silence=SILENCE) as made:
        yield made


def _client(place: Installation) -> Client:
    _, address = place.web()
    place.user("alice")
    return place.client(address, "alice")


@on_postgresql
def test_a_command_that_the_broker_has_lost_is_sent_again(
    place: Installation, amqp_uri: str, report: Report
) -> None:
    client = _client(place)
    task = client.create_task(original_name="a.fits").id
    client.process(task, ["trial"])
    with Connection(amqp_uri) as connection:
        taken = []

        def lose() -> bool:
            message = connection.default_channel.basic_get("work.trial", no_ack=True)
            taken.extend([message] if message else [])
            return bool(taken)

        assert wait_until(lose)
    place.events()
    replica = Replica(place.environment, place.folder / "replica.log")
    try:
        with report.time(f"command lost (silence {SILENCE} s) to its run's end by the watchdog"):
            assert client.wait(task, interval=0.1, timeout=60).state == "trial_done", place.logs()
    finally:
        replica.end()
    assert "its command is sent again" in place.logs()


@on_postgresql
def test_a_command_that_waits_for_a_replica_is_sent_once(
    place: Installation, amqp_uri: str
) -> None:
    events = place.events()
    client = _client(place)
    task = client.create_task(original_name="a.fits").id
    client.process(task, ["trial"])
    # More than the silence, and more than one round of the watchdog.
    assert not wait_until(lambda: "sent again" in events.log.read_text(), 3 * SILENCE + 6)
    with Connection(amqp_uri) as connection:
        declared = connection.default_channel.queue_declare("work.trial", passive=True)
    assert declared.message_count == 1


@on_postgresql
def test_a_stage_that_says_nothing_for_long_but_lives_is_left_alone(
    place: Installation, tmp_path: Path
) -> None:
    events = place.events()
    client = _client(place)
    trace = tmp_path / "trace"
    replica = Replica(place.environment, place.folder / "replica.log")
    try:
        task = client.create_task(original_name="a.fits").id
        order = {"seconds": 4 * SILENCE, "trace": str(trace)}
        client.process(task, ["trial"], {"trial": order})
        assert client.wait(task, interval=0.1, timeout=60).state == "trial_done", place.logs()
    finally:
        replica.end()
    assert trace.read_text().count("begun") == 1
    assert "sent again" not in events.log.read_text()


def test_a_worker_that_stands_still_is_ended_and_its_work_done_again(station: Station) -> None:
    station.ready_replica(silence=SILENCE)
    command = station.order(seconds=4)
    station.wait_for_begin(command)
    (worker,) = station.workers(command)
    os.kill(worker, signal.SIGSTOP)
    finished = station.finished(command)
    assert (finished.outcome, finished.attempt) == (Outcome.DONE, 2), station.logs()
    assert station.replicas[-1].said("it gave no sign of life for 2 s")
    assert station.leftovers() == []


def test_a_replica_that_is_connected_and_does_not_consume_turns_red_and_comes_back(
    station: Station, report: Report
) -> None:
    (port,) = free_ports(1)
    health = f"http://{LOOPBACK}:{port}/healthz"
    replica = station.ready_replica(health_port=port)
    assert wait_until(lambda: status(health) == 200)
    with connect(station.amqp_uri, "test") as connection:
        channel = connection.default_channel
        channel.queue_delete("work.trial")
        # In its place stands one that the replica cannot consume from.
        channel.queue_declare("work.trial", durable=True, auto_delete=False)
        with report.time("a queue taken away to a red replica"):
            assert wait_until(lambda: status(health) == 503), station.logs()
        assert wait_until(lambda: replica.said("with other properties")), station.logs()
        assert replica.running
        channel.queue_delete("work.trial")
    with report.time("the queue given back to a green replica"):
        assert wait_until(lambda: status(health) == 200), station.logs()
    command = station.order()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)
