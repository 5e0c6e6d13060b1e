"""What does a full disk cost? A sentence that says so, and nothing half-published.

The tasks' folder is a small file system of its own that is really full. The invariant: every
command comes to exactly one end, the task's folder is as it was before, a kill is obeyed, and all
is well again when there is room.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.client import RequestRefused
from skyrelay.messages import Outcome
from skyrelay.stage.execute import DISK_FULL
from tests.support.disk import SmallDisk, small_disk
from tests.support.fleet import fleet
from tests.support.gateway import opened
from tests.support.invariants import of_the_process_table, verdict
from tests.support.processes import wait_until
from tests.support.report import Report
from tests.support.servers import TRIAL, installation
from tests.support.station import Station, until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The file system with the folder of all tasks."""
    with small_disk(tmp_path / "tasks") as made:
        yield made


def test_a_disk_that_fills_up_during_a_stage_leaves_the_task_as_it_was(
    disk: SmallDisk, station: Station
) -> None:
    station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    disk.fill()
    go.touch()
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
    disk: SmallDisk, tmp_path: Path, amqp_uri: str, report: Report
) -> None:
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    traces: dict[str, Path] = {}
    with (
        installation(tmp_path, url, amqp_uri, **TRIAL) as place,
        opened(tmp_path, url) as gateway,
        fleet(place) as made,
    ):
        client = made.clients[0]

        def begin(task: int, **order: object) -> str:
            trace = tmp_path / f"trace-{len(traces)}"
            given = {"trace": str(trace), "stamps": True, **order}
            run = made.process(task, ["trial", "trial"], given)
            traces[run] = trace
            return run

        task = client.create_task(original_name="a.fits").id
        killed = begin(client.create_task(original_name="b.fits").id, seconds=600, children=True)
        assert wait_until(traces[killed].exists), made.logs()
        disk.fill()
        with pytest.raises(RequestRefused) as refused:
            client.process(task, ["trial"])
        assert refused.value.status == 507
        assert made.cancel(killed), "a run can be killed although no byte can be written"
        assert not list(of_the_process_table(made, traces))
        disk.make_room()
        assert client.state(task).state == "initial"
        go = tmp_path / "go"
        begin(task, program=until(go))
        assert wait_until(lambda: client.state(task).state == "trial"), made.logs()
        disk.fill()
        go.touch()
        state = client.wait(task)
        assert (state.state, state.error) == ("trial_failed", DISK_FULL), made.logs()
        disk.make_room()
        with report.time("room on the disk again to the end of a chain that is begun then"):
            begin(task)
            assert client.wait(task, interval=0.05).state == "trial_done", made.logs()
        found = verdict(made, gateway, traces, amqp_uri, unharmed=True)
    assert not found, "\n".join([*found, made.logs()])
