"""What does a full disk cost? A sentence that says so, and nothing half-published.

The tasks' folder is a small file system of its own that is really full. The invariant: every
command comes to exactly one end, the task's folder is as it was before, and all is well again
when there is room.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.client import Client, RequestRefused
from skyrelay.messages import Outcome
from skyrelay.stage.execute import DISK_FULL
from tests.support.disk import SmallDisk, small_disk
from tests.support.processes import wait_until
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import Replica, Station


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The file system with the tasks' folder of ``station`` or ``place``."""
    with small_disk(tmp_path / "tasks") as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, amqp_uri: str) -> Iterator[Installation]:
    """An installation whose stages include the trial stage."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    with installation(tmp_path, url, amqp_uri, **TRIAL) as made:
        yield made


@pytest.fixture
def client(place: Installation) -> Iterator[Client]:
    """A user of its running gateway, which has a replica."""
    replica = Replica(place.environment, place.folder / "replica.log")
    place.events()
    _, address = place.web()
    place.user("alice")
    yield place.client(address, "alice")
    replica.end()


def test_a_disk_that_fills_up_during_a_stage_leaves_the_task_as_it_was(
    disk: SmallDisk, station: Station
) -> None:
    station.ready_replica()
    command = station.order(seconds=1.5)
    station.wait_for_begin(command)
    disk.fill()
    finished = station.finished(command)
    assert (finished.outcome, finished.reasons) == (Outcome.FAILED, (DISK_FULL,))
    assert station.files(command) <= {"image.fits", "trial.log"}
    disk.make_room()
    following = station.order()
    assert station.finished(following).outcome is Outcome.DONE
    station.assert_sound(following)


def test_a_disk_that_is_full_before_a_stage_begins_fails_it_with_that_sentence(
    disk: SmallDisk, station: Station
) -> None:
    station.ready_replica()
    command, following = station.command(), station.command()
    disk.fill()
    station.publisher.publish(command)
    finished = station.finished(command)
    assert (finished.outcome, finished.reasons) == (Outcome.FAILED, (DISK_FULL,))
    assert station.files(command) <= {"image.fits", "trial.log"}
    disk.make_room()
    station.publisher.publish(following)
    assert station.finished(following).outcome is Outcome.DONE
    station.assert_sound(following)


def test_a_user_hears_of_a_full_disk_and_goes_on_when_there_is_room(
    disk: SmallDisk, client: Client, place: Installation
) -> None:
    task = client.create_task(original_name="a.fits").id
    disk.fill()
    with pytest.raises(RequestRefused) as refused:
        client.process(task, ["trial"])
    assert refused.value.status == 507
    disk.make_room()
    assert client.state(task).state == "initial"
    client.process(task, ["trial", "trial"], {"trial": {"seconds": 1.5}})
    assert wait_until(lambda: client.state(task).state == "trial"), place.logs()
    disk.fill()
    state = client.wait(task)
    assert (state.state, state.error) == ("trial_failed", DISK_FULL), place.logs()
    disk.make_room()
    client.process(task, ["trial", "trial"], {"trial": {}})
    assert client.wait(task).state == "trial_done", place.logs()
