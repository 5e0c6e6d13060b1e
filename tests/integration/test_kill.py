"""Does a kill act at once, everywhere, and leave nothing?"""

from __future__ import annotations

import pytest

from skyrelay.messages import Outcome, StageFinished
from tests.support.processes import wait_until
from tests.support.station import PRODUCTS, Station, group_of
from tests.trial_service.stage import COLD_VARIABLE


def test_a_kill_ends_the_whole_group_while_every_slot_is_busy(station: Station) -> None:
    replica = station.ready_replica(slots=2)
    assert wait_until(lambda: len(replica.warmed) == 2)
    victim, other = (station.order(seconds=60, children=True) for _ in range(2))
    for command in (victim, other):
        station.wait_for_begin(command)
    worker, spared = station.workers(victim)[0], station.workers(other)[0]
    for leader in (worker, spared):
        assert wait_until(lambda leader=leader: len(group_of(leader)) >= 6), "guard, four children"
    station.kill(victim)
    assert station.finished(victim).outcome is Outcome.CANCELLED
    assert group_of(worker) == []
    assert len(group_of(spared)) >= 6
    assert station.files(victim) == {"image.fits"}
    station.kill(other)
    assert station.finished(other).outcome is Outcome.CANCELLED
    station.assert_sound(victim, other, begun=1)
    assert station.finished(station.order()).outcome is Outcome.DONE


def test_a_kill_ends_what_has_a_session_of_its_own(station: Station) -> None:
    station.ready_replica()
    command = station.order(seconds=60, children=True, detached=True)
    station.wait_for_begin(command)
    assert wait_until(lambda: len(station.detached(command)) == 4), "two sleep, one has a child"
    station.kill(command)
    assert station.finished(command).outcome is Outcome.CANCELLED
    assert station.detached(command) == []
    assert group_of(station.workers(command)[0]) == []
    station.assert_sound(command, begun=1)
    assert station.finished(station.order()).outcome is Outcome.DONE


def test_a_run_killed_in_the_queue_never_starts(station: Station) -> None:
    command = station.command()
    replica = station.ready_replica()
    station.store.cancel_run(command.task, command.run)
    station.publisher.publish(command)
    assert wait_until(lambda: replica.said("dropped: its run is over"))
    assert station.finished(station.order()).outcome is Outcome.DONE
    assert station.begun(command) == 0
    assert station.of(command, StageFinished) == []


def test_a_kill_reaches_the_replica_that_has_the_run(station: Station) -> None:
    station.ready_replica()
    station.ready_replica()
    commands = [station.order(seconds=60) for _ in range(2)]
    for command in commands:
        station.wait_for_begin(command)
    station.kill(commands[0])
    assert station.finished(commands[0]).outcome is Outcome.CANCELLED
    assert station.of(commands[1], StageFinished) == []
    station.kill(commands[1])
    assert station.finished(commands[1]).outcome is Outcome.CANCELLED
    station.assert_sound(*commands, begun=1)


def test_a_kill_whose_broadcast_was_lost_acts_all_the_same(station: Station) -> None:
    station.ready_replica()
    command = station.order(seconds=60)
    station.wait_for_begin(command)
    station.store.cancel_run(command.task, command.run)
    assert station.finished(command).outcome is Outcome.CANCELLED
    assert group_of(station.workers(command)[0]) == []
    station.assert_sound(command, begun=1)


def test_two_kills_are_one(station: Station) -> None:
    station.ready_replica()
    command = station.order(seconds=60, children=True)
    station.wait_for_begin(command)
    station.kill(command)
    station.kill(command)
    assert station.finished(command).outcome is Outcome.CANCELLED
    assert station.finished(station.order()).outcome is Outcome.DONE
    assert len(station.ends(command)) == 1
    station.assert_sound(command, begun=1)


def test_a_spare_worker_takes_the_next_stage_while_another_warms_up(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = station.folder / "cold"
    monkeypatch.setenv(COLD_VARIABLE, str(cold))
    replica = station.ready_replica(spare_workers=1)
    assert wait_until(lambda: len(replica.warmed) == 2)
    warm = set(replica.warmed)
    cold.touch()
    first, second = station.order(seconds=60), station.order()
    station.wait_for_begin(first)
    assert station.begun(second) == 0, "a spare worker is no slot"
    station.kill(first)
    assert station.finished(second).outcome is Outcome.DONE
    assert {*station.workers(first), *station.workers(second)} == warm
    assert set(replica.warmed) == warm


def test_a_kill_at_any_moment_of_a_short_stage_ends_it_one_way(station: Station) -> None:
    station.ready_replica()
    commands = []
    for _ in range(30):
        command = station.order()
        station.kill(command)
        commands.append(command)
    last = station.order()
    assert station.finished(last).outcome is Outcome.DONE
    for command in commands:
        outcomes = {event.outcome for event in station.of(command, StageFinished)}
        assert len(outcomes) <= 1
        # A worker may be killed after it has published, and before it could say so.
        whole_or_none = [PRODUCTS] if Outcome.DONE in outcomes else [PRODUCTS, {"image.fits"}]
        assert station.files(command) in whole_or_none
    assert station.leftovers() == []
