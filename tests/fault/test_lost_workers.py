"""Is the work of a replica or worker that dies done again, once, and not for ever?

The invariant: every command comes to exactly one end, its products are those of one attempt, and
nothing of an attempt runs after its end.
"""

from __future__ import annotations

import os
import signal

from skyrelay.broker import topology
from skyrelay.broker.consumer import DeadLetter
from skyrelay.messages import Outcome, StageFinished
from tests.support.processes import children_of, command_of, is_alive, wait_until
from tests.support.report import Report
from tests.support.station import Station, group_of, until


def guard_of(worker: int) -> int:
    """Process id of the guard of a worker."""
    (guard,) = [pid for pid in children_of(worker) if "skyrelay.stage.worker" in command_of(pid)]
    return guard


def test_two_deliveries_at_once_to_two_replicas_are_done_once(station: Station) -> None:
    station.ready_replica()
    station.ready_replica()
    command = station.command(seconds=1.0)
    for _ in range(3):
        station.publisher.publish(command)
    assert wait_until(lambda: len(station.of(command, StageFinished)) >= 2), station.logs()
    station.assert_sound(command, begun=1)


def test_a_superseded_attempt_is_not_done_beside_the_next(station: Station) -> None:
    station.ready_replica()
    command = station.order(act="retriable once")
    station.finished(command)
    station.publisher.publish(command)
    assert wait_until(lambda: len(station.of(command, StageFinished)) >= 2), station.logs()
    station.assert_sound(command, begun=2)
    told = station.of(command, StageFinished)
    assert {(event.attempt, event.finished) for event in told} == {(2, told[0].finished)}


def test_a_worker_that_dies_each_time_is_not_tried_for_ever(station: Station) -> None:
    station.ready_replica()
    command = station.order(act="die")
    finished = station.finished(command)
    assert finished.outcome is Outcome.FAILED
    assert "The worker died 3 times while working on this image" in finished.reasons[0]
    assert "signal 11" in finished.reasons[0]
    station.assert_sound(command, begun=3)
    assert station.finished(station.order()).outcome is Outcome.DONE


def test_an_answer_about_another_attempt_is_never_taken_for_this_one(station: Station) -> None:
    station.ready_replica()
    command = station.order(act="answer for another")
    finished = station.finished(command)
    assert finished.outcome is Outcome.FAILED
    assert finished.reasons[0].endswith("the last time: it spoke about another attempt.")
    station.assert_sound(command, begun=3)
    assert station.finished(station.order()).outcome is Outcome.DONE


def test_an_idle_worker_that_dies_is_replaced_before_the_next_command(station: Station) -> None:
    replica = station.ready_replica()
    command = station.order()
    station.finished(command)
    worker = station.workers(command)[0]
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: replica.said("an idle worker has died"))
    assert wait_until(lambda: len(replica.warmed) == 2)
    assert wait_until(lambda: group_of(worker) == [])
    following = station.order()
    assert station.finished(following).outcome is Outcome.DONE
    assert station.workers(following) != [worker]
    station.assert_sound(command, following, begun=1)
    assert len(replica.warmed) == 2


def test_a_worker_killed_for_memory_leaves_nothing_that_it_has_started(
    station: Station, report: Report
) -> None:
    station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go), children=True, detached=True)
    station.wait_for_begin(command)
    assert wait_until(lambda: len(station.detached(command)) == 4)
    first = station.detached(command)
    os.kill(station.workers(command)[0], signal.SIGKILL)
    with report.time("worker killed to the next attempt's beginning (retry delay 0.3 s)"):
        station.wait_for_begin(command, times=2)
    go.touch()
    finished = station.finished(command)
    assert (finished.outcome, finished.attempt) == (Outcome.DONE, 2)
    assert wait_until(lambda: not any(is_alive(pid) for pid in first)), "sessions outlived it"
    station.assert_sound(command, begun=2)


def test_a_worker_does_not_outlive_its_guard(station: Station, report: Report) -> None:
    """Else it would, if its replica died too, keep the claim for ever."""
    replica = station.ready_replica()
    command = station.order(seconds=60)
    station.wait_for_begin(command)
    worker = station.workers(command)[0]
    # Between the two kills it is not to begin the next attempt.
    os.kill(replica.pid, signal.SIGSTOP)
    os.kill(guard_of(worker), signal.SIGKILL)
    os.kill(replica.pid, signal.SIGKILL)
    with report.time("guard and replica killed to the end of their worker"):
        assert wait_until(lambda: not is_alive(worker))
    station.ready_replica()
    station.wait_for_begin(command, times=2)
    station.kill(command)
    assert station.finished(command).outcome is Outcome.CANCELLED
    station.assert_sound(command, begun=2)


def test_a_replica_killed_for_memory_takes_its_group_along_and_the_work_is_done_once(
    station: Station, report: Report
) -> None:
    replicas = [station.ready_replica() for _ in range(2)]
    go = station.folder / "go"
    command = station.order(program=until(go), children=True, detached=True)
    station.wait_for_begin(command)
    assert wait_until(lambda: len(station.detached(command)) == 4)
    worker = station.workers(command)[0]
    guard = guard_of(worker)
    first = next(each for each in replicas if worker in children_of(each.pid))
    detached = station.detached(command)
    first.kill()
    with report.time("replica killed to the next beginning of its stage, by another"):
        station.wait_for_begin(command, times=2)
    # The guard ends last of all, when the claim is free already.
    assert set(group_of(worker)) <= {guard}, "the group outlived its replica"
    assert not any(is_alive(pid) for pid in detached), "a session outlived the replica"
    assert wait_until(lambda: group_of(worker) == []), "the guard outlived its group"
    go.touch()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=2)


def test_the_gateway_hears_of_a_command_that_kills_its_replica_each_time(
    station: Station, report: Report
) -> None:
    station.ready_replica()
    command = station.order(act="kill the replica")
    for _ in range(topology.DELIVERY_LIMIT):
        assert station.replicas[-1].wait() != 0
        station.ready_replica()
    with report.time("last replica killed by poison to its dead letter"):
        assert wait_until(lambda: station.of(command, DeadLetter)), station.logs()
    dead = station.of(command, DeadLetter)[0]
    assert (
        dead.reason == f"The worker died {topology.DELIVERY_LIMIT + 1} times while working on it."
    )
