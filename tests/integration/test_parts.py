"""Does a stage that is split into parts come to one end on several replicas, whatever happens?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skyrelay.client import Client
from tests.support.gateway import opened
from tests.support.invariants import of_the_disk
from tests.support.processes import children_of, is_alive, wait_until
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import Replica

#: The databases differ in how they lock; both are tried in tests/contract. Here is the usual one.
pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

PARTS = 4


class Divided:
    """An installation with two replicas, and a task whose stage is done in parts."""

    def __init__(self, place: Installation) -> None:
        place.events()
        _, address = place.web()
        place.user("alice")
        self.place = place
        self.client: Client = place.client(address, "alice")
        self.task = self.client.create_task(original_name="a.fits").id
        self.trace = place.folder / "trace"
        self.replicas = [
            Replica(place.environment, place.folder / f"replica-{number}.log")
            for number in range(2)
        ]
        for replica in self.replicas:
            assert wait_until(lambda replica=replica: replica.said("consuming"))

    def start(self, **order: Any) -> None:
        """Begin the run; ``acts``: what goes wrong in which part."""
        order = {"parts": PARTS, "trace": str(self.trace), **order}
        self.client.process(self.task, ["divided"], {"divided": order})

    def start_on_both_replicas(self) -> Path:
        """Begin a run whose parts last until the file that is returned is there."""
        go = self.place.folder / "go"
        self.start(hold=str(go))
        assert wait_until(lambda: len(self.workers()) == 2), self.place.logs()
        return go

    def wait(self) -> Any:
        """The state after the run."""
        return self.client.wait(self.task, interval=0.05, timeout=120)

    def times(self, words: str) -> int:
        """How often these words were left by the science."""
        return self.trace.read_text().count(f"{words} ") if self.trace.exists() else 0

    def workers(self) -> set[int]:
        """Process ids of the workers that began a part."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return {int(line.split("pid=")[1].split()[0]) for line in lines if "begun" in line}

    def assert_sound(self, *, unharmed: bool = True) -> None:
        """No part has ended twice, and nothing is left; ``unharmed``: no process was killed."""
        assert max(self.times(f"ended {part}") for part in range(1, PARTS + 1)) <= 1
        assert self.times("joined") <= 1
        with opened(self.place.folder, self.place.environment["DATABASE_URL"]) as gateway:
            assert not list(of_the_disk(gateway, unharmed=unharmed))

    def product(self) -> str:
        return self.client.read(self.task, "joined.txt").decode()


@pytest.fixture
def divided(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Divided]:
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as place:
        made = Divided(place)
        try:
            yield made
        finally:
            for replica in made.replicas:
                replica.end()


def test_the_parts_are_done_on_all_replicas_and_joined_once(divided: Divided) -> None:
    divided.start_on_both_replicas().touch()
    assert divided.wait().state == "divided_done", divided.place.logs()
    assert divided.product() == "1 2 3 4"
    assert len(divided.workers()) == 2
    assert (divided.times("prepared"), divided.times("joined")) == (1, 1)
    (run,) = divided.client.runs(divided.task)
    assert run.stages[0].values["joined"]["value"] == PARTS
    assert run.stages[0].values["parts"]["value"] == PARTS
    log = divided.client.read(divided.task, "divided.log").decode()
    warned = "Warning: divided: no stage reads this parameter"
    assert log.splitlines() == [
        warned,
        "Prepared",
        *(f"Part {part} begins" for part in range(1, 5)),
    ]
    assert wait_until(lambda: not list((divided.place.folder / "tasks" / ".runs").iterdir()))
    visible = {entry.name for entry in divided.client.files(divided.task)}
    assert visible == {"joined.txt", "divided.log", "divided_results.json"}
    divided.assert_sound()


def test_a_small_image_is_done_in_one_piece(divided: Divided) -> None:
    divided.start(parts=1)
    assert divided.wait().state == "divided_done"
    assert divided.product() == "whole"


def test_a_part_is_tried_again_and_one_that_cannot_be_done_is_left_out(divided: Divided) -> None:
    divided.start(acts={"2": "retriable once", "3": "permanent", "4": "die"})
    state = divided.wait()
    assert state.state == "divided_done", divided.place.logs()
    assert divided.product() == "1 2"
    assert divided.times("begun 2") == 2
    assert state.degraded[0] == "Part 3 is left out: It cannot be done."
    assert state.degraded[1].startswith("Part 4 is left out: The worker died 3 times")
    assert divided.client.runs(divided.task)[0].state == "degraded"
    divided.assert_sound(unharmed=False)


def test_a_kill_ends_the_parts_on_every_replica(divided: Divided) -> None:
    divided.start_on_both_replicas()
    workers = divided.workers()
    assert divided.client.cancel(divided.task) == 1
    assert wait_until(lambda: not any(is_alive(worker) for worker in workers))
    assert divided.client.state(divided.task).state == "cancelled"
    assert wait_until(lambda: not list((divided.place.folder / "tasks" / ".runs").iterdir()))
    assert divided.client.files(divided.task) == []
    assert divided.times("ended 1") == 0
    divided.assert_sound()


def test_the_parts_of_a_replica_that_dies_are_done_by_the_other(divided: Divided) -> None:
    go = divided.start_on_both_replicas()
    workers = children_of(divided.replicas[0].pid)
    divided.replicas[0].kill()
    assert wait_until(lambda: not any(map(is_alive, workers)))
    go.touch()
    assert divided.wait().state == "divided_done", divided.place.logs()
    assert divided.product() == "1 2 3 4"
    for part in range(1, PARTS + 1):
        assert divided.times(f"ended {part}") == 1
    assert divided.times("joined") == 1
    divided.assert_sound(unharmed=False)
