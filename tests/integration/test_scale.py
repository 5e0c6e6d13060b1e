"""Do replicas share the work, whenever they come and go, and does none take what another could?"""

from __future__ import annotations

from collections import Counter

from skyrelay.messages import Outcome, RunStage
from tests.support.processes import wait_until
from tests.support.station import Station, until


def _spans(station: Station, commands: list[RunStage]) -> list[tuple[float, float]]:
    """When the science of each run began and ended."""
    spans = []
    for command in commands:
        begun, ended = station.trace(command.run).read_text().splitlines()
        spans.append((float(begun.split()[2]), float(ended.split()[2])))
    return spans


def _most_at_once(spans: list[tuple[float, float]]) -> int:
    return max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans)


def _all_done(station: Station, commands: list[RunStage]) -> None:
    for command in commands:
        assert station.finished(command).outcome is Outcome.DONE, station.logs()
        assert station.begun(command) == 1


def test_as_many_stages_run_at_once_as_there_are_slots(station: Station) -> None:
    for slots in (1, 1, 2):
        station.ready_replica(slots=slots)
    go = station.folder / "go"
    commands = [station.order(program=until(go), seconds=0.5) for _ in range(12)]
    assert wait_until(lambda: sum(map(station.begun, commands)) == 4), station.logs()
    go.touch()
    _all_done(station, commands)
    assert _most_at_once(_spans(station, commands)) == 4
    share = Counter(station.workers(command)[0] for command in commands)
    assert len(share) == 4, "every worker had its share"


def test_a_replica_that_comes_takes_its_share_of_the_backlog(station: Station) -> None:
    station.ready_replica()
    go = station.folder / "go"
    commands = [station.order(program=until(go)) for _ in range(20)]
    station.wait_for_begin(commands[0])
    station.ready_replica()
    assert wait_until(lambda: sum(map(station.begun, commands)) == 2), station.logs()
    go.touch()
    _all_done(station, commands)
    workers = {station.workers(command)[0] for command in commands}
    assert len(workers) == 2


def test_a_replica_that_goes_leaves_its_share_to_the_others(station: Station) -> None:
    first, _ = station.ready_replica(), station.ready_replica()
    commands = [station.order(seconds=0.5) for _ in range(12)]
    station.wait_for_begin(commands[0])
    first.terminate()
    assert first.wait() == 0
    _all_done(station, commands)


def test_a_busy_replica_holds_no_message_that_another_could_take(station: Station) -> None:
    station.ready_replica()
    busy = station.order(seconds=600)
    station.wait_for_begin(busy)
    waiting = station.order()
    # It must not be in the hands of the replica that is busy when the idle one comes.
    station.ready_replica()
    assert station.finished(waiting).outcome is Outcome.DONE
    assert station.ended(busy) == 0
    station.kill(busy)
    assert wait_until(lambda: station.finished(busy).outcome is Outcome.CANCELLED)
