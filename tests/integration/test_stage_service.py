"""Does a replica bring every command to one end, with whole products or none?"""

from __future__ import annotations

import pytest
import requests

from skyrelay.broker import topology
from skyrelay.broker.connection import connect
from skyrelay.broker.consumer import DeadLetter
from skyrelay.broker.publisher import declare_topology
from skyrelay.messages import Lane, Outcome, StageFinished, StageProgressed, StageStarted, place_in
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import is_alive, wait_until
from tests.support.report import Report
from tests.support.station import PRODUCTS, Station, group_of, until


def test_a_stage_that_ends_well_publishes_its_products_whole(station: Station) -> None:
    station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    for kind in (StageStarted, StageProgressed):
        assert wait_until(lambda kind=kind: station.of(command, kind)), station.logs()
    go.touch()
    finished = station.finished(command)
    assert finished.outcome is Outcome.DONE
    assert station.files(command) == PRODUCTS
    assert finished.record is not None
    record = station.store.read_record(finished.record)
    assert record.config["trial_done"] is True
    assert record.values["answer"].value == 42
    assert len(station.of(command, StageStarted)) == 1
    assert station.leftovers() == []


def test_a_run_that_the_store_does_not_know_is_no_failure_of_the_replica(station: Station) -> None:
    """Its run was cancelled long ago; or TASKS_PATH is wrong, which its user has to hear."""
    (port,) = free_ports(1)
    replica = station.ready_replica(health_port=port)
    command = station.command()
    station.store.close_run(command.run)
    station.publisher.publish(command)
    finished = station.finished(command)
    assert finished.outcome is Outcome.FAILED
    assert "the same TASKS_PATH?" in finished.reasons[0]
    known = station.order(act="permanent")
    assert station.finished(known).outcome is Outcome.FAILED
    metrics = requests.get(f"http://{LOOPBACK}:{port}/metrics", timeout=60).text
    assert 'skyrelay_stage_running_seconds_count{outcome="failed",stage="trial"} 1.0' in metrics
    assert replica.times_said("nothing of its run is in the store") == 1
    assert replica.times_said("outcome=failed") == 1


def test_a_degraded_stage_says_what_is_missing(station: Station) -> None:
    station.ready_replica()
    finished = station.finished(station.order(degraded="One tile failed."))
    assert finished.outcome is Outcome.DEGRADED
    assert finished.reasons == ("One tile failed.",)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        ("permanent", "The image is broken."),
        ("bug", "Internal error in trial: ZeroDivisionError: division by zero"),
        ("unwritable", "Internal error in trial: its results cannot be recorded: Pydantic"),
        ("full disk", "The disk with the tasks' files is full: make room on it"),
    ],
)
def test_a_failed_stage_leaves_only_its_log(station: Station, act: str, sentence: str) -> None:
    station.ready_replica()
    command = station.order(act=act)
    finished = station.finished(command)
    assert finished.outcome is Outcome.FAILED
    assert finished.reasons[0].startswith(sentence)
    assert station.files(command) == {"image.fits", "trial.log"}
    assert sentence in (station.store.folder(command.task) / "trial.log").read_text()
    assert station.begun(command) == 1
    assert station.leftovers() == []


def test_a_second_delivery_is_answered_from_the_record(station: Station) -> None:
    replica = station.ready_replica()
    command = station.order()
    station.finished(command)
    station.publisher.publish(command)
    assert wait_until(lambda: replica.times_said("finished") >= 2)
    assert wait_until(lambda: len(station.of(command, StageFinished)) >= 2)
    assert len(station.ends(command)) == 1
    assert station.begun(command) == 1


def test_what_may_succeed_later_is_tried_again(station: Station) -> None:
    station.ready_replica()
    command = station.order(act="retriable once")
    finished = station.finished(command)
    assert (finished.outcome, finished.attempt) == (Outcome.DONE, 2)
    assert station.begun(command) == 2


def test_trying_again_ends_with_the_last_reason(station: Station) -> None:
    station.ready_replica()
    command = station.order(act="retriable")
    finished = station.finished(command)
    assert (finished.outcome, finished.attempt) == (Outcome.FAILED, 3)
    assert finished.reasons == ("The catalogue does not answer.",)
    assert station.begun(command) == 3
    assert station.leftovers() == []


def test_a_worker_whose_attempt_was_superseded_ends_no_run_and_the_next_attempt_is_done(
    station: Station,
) -> None:
    station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    attempt = station.store.attempt(command)
    (attempt.folder / "superseded").write_text("Nothing was heard of it.")
    go.touch()
    finished = station.finished(command)
    assert (finished.outcome, finished.attempt) == (Outcome.DONE, 2), station.logs()
    assert len(station.ends(command)) == 1
    assert station.begun(command) == 2
    assert station.files(command) == PRODUCTS
    assert station.leftovers() == []


def test_a_stage_that_takes_too_long_is_stopped_and_fails(station: Station) -> None:
    station.ready_replica()
    command = station.order(seconds=60, children=True, detached=True, time_limit=6.0)
    station.wait_for_begin(command)
    finished = station.finished(command)
    assert finished.outcome is Outcome.FAILED
    assert finished.reasons == ("It took longer than 6 s and was stopped.",)
    assert group_of(station.workers(command)[0]) == []
    assert station.detached(command) == []
    assert station.files(command) == {"image.fits", "trial.log"}
    assert station.leftovers() == []


def test_what_the_science_started_does_not_outlive_its_stage(station: Station) -> None:
    station.ready_replica()
    command = station.order(children=True, detached=True)
    assert station.finished(command).outcome is Outcome.DONE
    assert station.detached(command) == []
    worker = station.workers(command)[0]
    assert wait_until(lambda: len(group_of(worker)) == 2), "only the worker and its guard"


def test_a_replica_for_large_images_takes_nothing_else(station: Station) -> None:
    station.ready_replica(lane="large")
    normal = station.order()
    large = station.command().model_copy(update={"lane": Lane.LARGE})
    station.publisher.publish(large)
    assert station.finished(large).outcome is Outcome.DONE
    retried = station.command(act="retriable once").model_copy(update={"lane": Lane.LARGE})
    station.publisher.publish(retried)
    assert station.finished(retried).attempt == 2
    assert station.begun(normal) == 0
    station.ready_replica()
    assert station.finished(normal).outcome is Outcome.DONE
    station.assert_sound(normal, large, begun=1)


def test_a_draining_replica_finishes_its_stage(station: Station) -> None:
    replica = station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    replica.terminate()
    assert wait_until(lambda: replica.said("draining"))
    go.touch()
    assert station.finished(command).outcome is Outcome.DONE
    assert replica.wait() == 0
    assert station.begun(command) == 1


def test_a_draining_replica_still_obeys_a_kill(station: Station) -> None:
    replica = station.ready_replica()
    command = station.order(seconds=60)
    station.wait_for_begin(command)
    replica.terminate()
    assert wait_until(lambda: replica.said("draining"))
    station.kill(command)
    assert station.finished(command).outcome is Outcome.CANCELLED
    assert replica.wait() == 0


def test_a_stage_that_outlasts_the_grace_is_handed_to_another_replica(
    station: Station, report: Report
) -> None:
    replicas = [station.ready_replica(drain_grace=0.5) for _ in range(2)]
    go = station.folder / "go"
    command = station.order(program=until(go))
    assert wait_until(lambda: any(replica.said("started") for replica in replicas))
    station.wait_for_begin(command)
    first, second = sorted(replicas, key=lambda replica: not replica.said("started"))
    first.terminate()
    with report.time("SIGTERM (grace 0.5 s) to the stage's next beginning, by another replica"):
        station.wait_for_begin(command, times=2)
    go.touch()
    assert first.wait() == 0
    assert station.finished(command).outcome is Outcome.DONE, station.logs()
    assert second.said("finished")
    assert station.ended(command) == 1


def test_a_message_that_nobody_can_read_is_put_aside_with_the_reason(station: Station) -> None:
    station.ready_replica()
    good = station.command()
    newer = good.to_json().replace('"version":1', '"version":2')
    for body in (b"{", newer.encode()):
        station.publisher.publish_raw(body, topology.route_of(good))
    station.publisher.publish(good)
    assert station.finished(good).outcome is Outcome.DONE
    assert station.begun(good) == 1

    def letters() -> list[DeadLetter]:
        """Each once, also if the broker was told of it twice."""
        return list({letter.body: letter for letter in station.dead_letters()}.values())

    assert wait_until(lambda: len(letters()) == 2)
    garbage, newer_version = letters()
    assert garbage.reason.startswith("The message could not be read: message: Invalid JSON")
    assert newer_version.reason.startswith("The message could not be read: RunStage.version")
    assert {letter.meant_for for letter in (garbage, newer_version)} == {"trial"}
    assert place_in(newer_version.body).run == good.run


def test_a_run_whose_files_are_elsewhere_fails_with_the_cause(station: Station) -> None:
    station.ready_replica()
    command = station.command()
    station.store.close_run(command.run)
    station.publisher.publish(command)
    finished = station.finished(command)
    assert finished.outcome is Outcome.FAILED
    assert "the same TASKS_PATH" in finished.reasons[0]


def test_a_queue_that_was_declared_differently_is_said_in_one_sentence(amqp_uri: str) -> None:
    with connect(amqp_uri, "test") as connection:
        connection.default_channel.queue_declare("work.inspect", durable=True, auto_delete=False)
    with pytest.raises(topology.TopologyConflict, match=r"work\.inspect.*another version"):
        declare_topology(amqp_uri)


def test_a_worker_that_has_grown_is_replaced_after_its_stage(station: Station) -> None:
    station.ready_replica(worker_memory=1)
    first, second = station.order(), None
    station.finished(first)
    second = station.order()
    station.finished(second)
    assert station.workers(first) != station.workers(second)
    assert wait_until(lambda: not is_alive(station.workers(first)[0]))


def test_one_replica_with_two_slots_works_on_two_stages_at_once(station: Station) -> None:
    replica = station.ready_replica(slots=2)
    assert wait_until(lambda: len(replica.warmed) == 2)
    go = station.folder / "go"
    commands = [station.order(program=until(go)) for _ in range(2)]
    for command in commands:
        station.wait_for_begin(command)
    go.touch()
    times = [station.finished(command) for command in commands]
    assert times[1].started < times[0].finished and times[0].started < times[1].finished
