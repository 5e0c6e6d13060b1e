"""What does an operator do on the command line about messages that were put aside?"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.broker import topology
from skyrelay.broker.publisher import Publisher
from skyrelay.client import Client
from tests.support.queues import take
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import Replica

REASON = "The message [was] rejected."


@pytest.fixture
def place(tmp_path: Path, amqp_uri: str) -> Iterator[Installation]:
    """An installation with a gateway; nobody works on its stages yet."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    with installation(tmp_path, url, amqp_uri, **TRIAL) as made:
        made.events()
        yield made


@pytest.fixture
def client(place: Installation) -> Client:
    """A user of it."""
    _, address = place.web()
    place.user("alice")
    return place.client(address, "alice")


def given_up(client: Client, amqp_uri: str) -> int:
    """A task whose command was put aside, so that its run has failed."""
    task = client.create_task(original_name="a.fits").id
    client.process(task, ["trial"])
    # Of two processes with an outbox, the second may send again what the first is slow to remove.
    command = take(amqp_uri, "work.trial")[0]
    with Publisher(amqp_uri) as publisher:
        headers = {topology.REASON_HEADER: REASON}
        publisher.publish_raw(command.to_json().encode(), topology.dead_route("trial"), headers)
    assert client.wait(task, interval=0.05, timeout=60).state == "trial_failed"
    return task


def test_dead_letters_are_listed_shown_replayed_and_dropped(
    place: Installation, client: Client, amqp_uri: str
) -> None:
    assert place.command("dead", "list") == ""
    first, second = given_up(client, amqp_uri), given_up(client, amqp_uri)
    listed = place.command("dead", "list").splitlines()
    assert [line.split()[0] for line in listed] == ["id", "1", "2"], "one line for each"
    assert all(REASON in line for line in listed[1:])
    shown = json.loads(place.command("dead", "show", "2"))
    assert (shown["task"], shown["meant_for"], shown["reason"]) == (second, "trial", REASON)
    replica = Replica(place.environment, place.folder / "replica.log")
    try:
        said = place.command("dead", "replay", "1")
        assert said == f"1: task {first} runs again (trial).\n"
        state = client.wait(first, interval=0.05, timeout=60).state
        assert state == "trial_done", place.logs()
    finally:
        replica.end()
    assert place.command("dead", "drop", "2") == "2: dropped.\n"
    assert place.command("dead", "list") == ""
    handled = place.command("dead", "list", "--all").splitlines()[1:]
    assert [line.split()[-1] for line in handled] == ["replayed", "dropped"]
    assert client.state(second).state == "trial_failed"


@pytest.mark.parametrize("verb", ["show", "replay", "drop"])
def test_a_letter_that_does_not_exist_is_said_in_a_sentence(
    place: Installation, client: Client, verb: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        place.command("dead", verb, "7")
    assert "There is no dead letter 7." in failed.value.stderr
    assert "Traceback" not in failed.value.stderr
