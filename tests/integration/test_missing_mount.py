"""Does a replica whose machine has not mounted the folder of the tasks spoil any run?"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from skyrelay.messages import Outcome, RunStage, StageFinished
from tests.support.mounts import LEFT_BEHIND, unmounted
from tests.support.processes import wait_until
from tests.support.station import Station, until

AWAY = "the store is away"


@pytest.mark.parametrize("left", [(), LEFT_BEHIND], ids=["empty", "left behind"])
def test_a_replica_that_began_without_the_mount_works_when_it_is_there(
    station: Station, left: Sequence[str]
) -> None:
    commands = [station.command() for _ in range(3)]
    with unmounted(station.store.root, left):
        replica = station.ready_replica()
        for command in commands:
            station.publisher.publish(command)
        # More often than an attempt may die.
        assert wait_until(lambda: replica.times_said(AWAY) > 3), station.logs()
        assert not _ended(station, *commands)
        assert {path.name for path in station.store.root.iterdir()} == set(left)
    for command in commands:
        assert station.finished(command).attempt == 1
    assert all(
        station.of(command, StageFinished)[0].outcome is Outcome.DONE for command in commands
    )
    station.assert_sound(*commands, begun=1)


def test_a_stage_under_which_the_mount_goes_is_done_again_when_it_is_back(
    station: Station,
) -> None:
    replica = station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    with unmounted(station.store.root):
        go.touch()
        assert wait_until(lambda: replica.said(AWAY)), station.logs()
        assert not _ended(station, command)
    finished = station.finished(command)
    assert (finished.outcome, finished.attempt) == (Outcome.DONE, 1), station.logs()
    assert station.begun(command) == 2


def test_a_replica_without_the_mount_leaves_the_commands_to_others(station: Station) -> None:
    (station.folder / "mount-point").mkdir()
    without = station.ready_replica(tasks_path=station.folder / "mount-point")
    command = station.order()
    assert wait_until(lambda: without.said(AWAY)), station.logs()
    station.ready_replica()
    commands = [command, *(station.order() for _ in range(5))]
    for each in commands:
        assert station.finished(each).outcome is Outcome.DONE, station.logs()
    station.assert_sound(*commands, begun=1)


def _ended(station: Station, *commands: RunStage) -> list[StageFinished]:
    return [event for command in commands for event in station.of(command, StageFinished)]
