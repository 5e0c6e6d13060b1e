"""Is every line of every process an object, and does it say which attempt it is about?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from skyrelay.broker import topology
from skyrelay.broker.publisher import Publisher
from skyrelay.broker.topology import Route
from skyrelay.client import Client
from skyrelay.messages import VERSION
from tests.support.gateway import PASSWORD
from tests.support.processes import wait_until
from tests.support.proxy import Proxy, proxy
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import Replica, until

#: What a replica says that is about no attempt.
OF_THE_REPLICA = {
    "a worker is warm",
    "an idle worker has died",
    "consuming",
    "replica starts",
}
#: What a line that is about an attempt names.
PLACE = ("task", "run", "stage", "attempt")


@dataclass
class Talking:
    """A chain whose processes all write JSON; the replica reaches the broker through a proxy."""

    place: Installation
    client: Client
    replica: Replica
    proxy: Proxy
    amqp_uri: str

    def task(self, **trial: object) -> int:
        image = self.place.folder / "image.fits"
        image.write_bytes(b"image")
        return self.client.create_task(image, config={"trial": trial}).id

    def lines(self, log: str) -> list[dict[str, Any]]:
        """What processes of one kind have said; every line of it must be an object."""
        files = sorted(self.place.folder.glob(f"{log}*.log"))
        assert files
        found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        for line in found:
            assert {"time", "level", "logger", "message"} <= line.keys()
        return found

    def said(self, log: str, words: str) -> list[dict[str, Any]]:
        return [line for line in self.lines(log) if words in line["message"]]


@pytest.fixture
def talking(tmp_path: Path, amqp_uri: str) -> Iterator[Talking]:
    database = f"sqlite:///{tmp_path / 'gateway.db'}"
    settings = {**TRIAL, "skyrelay_log_format": "json"}
    with (
        proxy(amqp_uri) as between,
        installation(tmp_path, database, amqp_uri, **settings) as place,
    ):
        place.command("user", "create", "alice", "--password-stdin", text=PASSWORD)
        place.events()
        theirs = place.environment | {"AMQP_URI": between.uri(amqp_uri)}
        replica = Replica(theirs, tmp_path / "replica.log")
        try:
            _, address = place.web()
            assert wait_until(lambda: replica.said("consuming")), replica.log.read_text()
            yield Talking(place, place.client(address, "alice"), replica, between, amqp_uri)
        finally:
            replica.end()


def test_every_line_of_a_chain_is_an_object_and_names_the_attempt_that_it_is_about(
    talking: Talking,
) -> None:
    client, tasks = talking.client, talking.place.folder / "tasks"
    go, go_on = (talking.place.folder / name for name in ("go", "go-on"))
    good = talking.task(seconds=0.2)
    run = client.process(good, ["trial", "trial"]).celery_id
    assert client.wait(good, interval=0.05).state == "trial_done"

    # Its end cannot be recorded; that is said in a native thread of the replica.
    deadly = talking.task(program=until(go), act="die")
    broken = client.process(deadly, ["trial"]).celery_id
    assert wait_until(lambda: list((tasks / ".runs" / broken).glob("0*1")))
    (attempt,) = (tasks / ".runs" / broken).glob("0*1")
    (attempt / "superseded").mkdir()
    go.touch()
    assert client.wait(deadly, interval=0.05).state == "trial_failed"

    # Its outcome is told by the thread that sends, while the broker is away.
    killed = talking.task(seconds=60)
    client.process(killed, ["trial"])
    assert wait_until(lambda: client.state(killed).state == "trial")
    client.cancel(killed)
    assert wait_until(lambda: talking.said("replica", "group ended"))
    late = talking.task(program=until(go_on))
    client.process(late, ["trial"])
    assert wait_until(lambda: client.state(late).state == "trial")
    talking.proxy.refuse()
    go_on.touch()
    assert wait_until(lambda: talking.said("replica", "the broker did not take a message"))
    talking.proxy.accept_again()
    assert client.wait(late, interval=0.05).state == "trial_done"

    # Two messages of another version, which say at least what they are about.
    strange = {"version": VERSION + 1, "run": str(uuid4()), "task": good, "step": "trial"}
    with Publisher(talking.amqp_uri) as publisher:
        for exchange, key in (("WORK", "trial"), ("EVENTS", "trial.StageFinished")):
            route = Route(getattr(topology, exchange).name, key, mandatory=True, persistent=True)
            publisher.publish_raw(json.dumps(strange).encode(), route)
    assert wait_until(lambda: talking.said("events", "unreadable message"))
    assert wait_until(lambda: len(talking.said("events", "DEAD LETTER")) == 2)

    about_attempts = [
        line for line in talking.lines("replica") if line["logger"].startswith("skyrelay.stage")
    ]
    for line in about_attempts:
        if line["message"] not in OF_THE_REPLICA and "is away" not in line["message"]:
            assert set(PLACE) <= line.keys() or "not heard" in line["message"], line
    for log, words, task in (
        ("replica", "finished", good),
        ("replica", "printed", good),
        ("replica", "the worker died", deadly),
        ("replica", "the end of an attempt could not be recorded", deadly),
        ("replica", "group ended", killed),
        ("replica", "the broker did not take a message", late),
        ("replica", "put aside", good),
        ("events", "unreadable message", good),
        ("events", "DEAD LETTER", good),
    ):
        said = talking.said(log, words)
        assert task in {line["task"] for line in said}
        for line in said:
            assert set(PLACE) <= line.keys(), line

    answered = [line for line in talking.said("web", "answered") if line["method"] == "POST"]
    (begun,) = [line for line in answered if line.get("run") == run]
    assert begun["path"] == f"/api/tasks/{good}/process/"
    assert (begun["task"], begun["user"], begun["status"]) == (good, "alice", 200)
    assert begun["bytes"] > 0 and begun["milliseconds"] >= 0
    # The line about the request that made the task knows which one it made.
    assert {line.get("task") for line in answered if line["path"] == "/api/tasks/"} == {
        good,
        deadly,
        killed,
        late,
    }
    assert not [line for line in talking.lines("web") if "/healthz" in str(line)]
