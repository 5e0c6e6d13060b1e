"""Is work that nobody speaks of any more noticed, and done all the same?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from amqp.exceptions import PreconditionFailed
from sqlalchemy import func, select

from gateway.models import OutboxMessage
from skyrelay.broker.connection import connect
from skyrelay.client import Client
from skyrelay.messages import Outcome
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.gateway import opened
from tests.support.processes import wait_until
from tests.support.queues import taken
from tests.support.report import Report
from tests.support.servers import TRIAL, Installation, installation, status
from tests.support.station import Replica, Station, until

#: The databases differ in how they lock; both are tried in tests/contract. Here is the usual one.
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

#: Seconds without a sign of life; of the retry delays, the longest comes on top.
SILENCE = 2

#: The same where everything may stand still for a while, and nothing is lost.
LONG_SILENCE = 12


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
    taken(amqp_uri, "work.trial")
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
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        connect(amqp_uri, "test") as connection,
    ):

        def unsent() -> int | None:
            with gateway.database.reading() as session:
                return session.scalar(select(func.count()).select_from(OutboxMessage))

        def waiting() -> int:
            declared = connection.default_channel.queue_declare("work.trial", passive=True)
            return int(declared.message_count)

        def sent_again() -> int:
            return events.log.read_text().count("sent again")

        # Until then two processes may send it, and the watchdog may miss it in the queue.
        assert wait_until(lambda: unsent() == 0 and waiting() > 0)
        messages, said = waiting(), sent_again()
        # More than the silence, and more than one round of the watchdog.
        assert not wait_until(lambda: sent_again() > said, SILENCE + 8)
        assert waiting() == messages


@on_postgresql
def test_a_stage_that_says_nothing_for_long_but_lives_is_left_alone(
    place: Installation, tmp_path: Path
) -> None:
    place.environment["SKYRELAY_SILENCE"] = str(LONG_SILENCE)
    events = place.events()
    client = _client(place)
    trace = tmp_path / "trace"
    replica = Replica(place.environment, place.folder / "replica.log")
    try:
        task = client.create_task(original_name="a.fits").id
        # More than the silence, and more than one round of the watchdog.
        order = {"seconds": LONG_SILENCE + 6, "trace": str(trace)}
        client.process(task, ["trial"], {"trial": order})
        assert client.wait(task, interval=0.1, timeout=120).state == "trial_done", place.logs()
    finally:
        replica.end()
    assert trace.read_text().count("begun") == 1
    assert "sent again" not in events.log.read_text()


def test_a_worker_that_stands_still_is_ended_and_its_work_done_again(station: Station) -> None:
    station.ready_replica(silence=SILENCE)
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    (worker,) = station.workers(command)
    os.kill(worker, signal.SIGSTOP)
    go.touch()
    finished = station.finished(command)
    assert finished.outcome is Outcome.DONE, station.logs()
    assert finished.attempt >= 2
    assert station.replicas[-1].said(f"it gave no sign of life for {SILENCE} s")
    assert station.leftovers() == []


def test_a_replica_that_is_connected_and_does_not_consume_turns_red_and_comes_back(
    station: Station, report: Report
) -> None:
    (port,) = free_ports(1)
    health = f"http://{LOOPBACK}:{port}/healthz"
    replica = station.ready_replica(health_port=port)
    assert wait_until(lambda: status(health) == 200)
    with connect(station.amqp_uri, "test") as connection:

        def put_in_its_place() -> bool:
            """Have a queue there that the replica cannot consume from; it may be faster."""
            with connection.channel() as own:
                own.queue_delete("work.trial")
                try:
                    own.queue_declare("work.trial", durable=True, auto_delete=False)
                except PreconditionFailed:
                    return False
            return True

        assert wait_until(put_in_its_place)
        with report.time("a queue taken away to a red replica"):
            assert wait_until(lambda: status(health) == 503), station.logs()
        assert wait_until(lambda: replica.said("with other properties")), station.logs()
        assert replica.running
        connection.default_channel.queue_delete("work.trial")
    with report.time("the queue given back to a green replica"):
        assert wait_until(lambda: status(health) == 200), station.logs()
    command = station.order()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)
