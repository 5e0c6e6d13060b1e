"""Does a process end that looks for a broker of which nobody knows where it is?"""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.support
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import free_ports
from tests.support.processes import children_of, wait_until
from tests.support.servers import Installation
from tests.support.station import Station

FOLDER = Path(tests.support.__path__[0], "names_not_found")


class Names:
    """The looking for addresses of processes that are started from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin_to_take_for_ever(self) -> None:
        self._file.touch()

    def looked_for_by(self, *pids: int) -> bool:
        """Whether each of these processes looks for an address, in vain."""
        return {str(pid) for pid in pids} <= set(self._file.read_text().split())


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    file = tmp_path / "names-not-found"
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.setenv("NAMES_NOT_FOUND", str(file))
    return Names(file)


def test_a_replica_ends_while_it_looks_for_its_broker(
    names: Names, broker: BrokerNode, station: Station
) -> None:
    replica = station.ready_replica()
    names.begin_to_take_for_ever()
    broker.kill()
    assert wait_until(lambda: names.looked_for_by(replica.pid))
    replica.terminate()
    assert replica.wait() == 0
    broker.start()


def test_a_replica_that_ends_meanwhile_does_its_stage_to_the_end_of_its_grace(
    names: Names, broker: BrokerNode, station: Station
) -> None:
    replica = station.ready_replica(drain_grace=1.0)
    command = station.order(seconds=600)
    station.wait_for_begin(command)
    names.begin_to_take_for_ever()
    broker.kill()
    assert wait_until(lambda: names.looked_for_by(replica.pid))
    replica.terminate()
    assert replica.wait() == 0
    assert station.ended(command) == 0
    broker.start()


def test_the_processes_of_the_gateway_end_while_they_look_for_their_broker(
    names: Names, broker: BrokerNode, place: Installation
) -> None:
    (port,) = free_ports(1)
    events = place.events(SKYRELAY_HEALTH_PORT=str(port))
    web, _ = place.web()
    assert wait_until(lambda: "listening to the stages" in events.log.read_text())
    (worker,) = children_of(web.pid)
    names.begin_to_take_for_ever()
    broker.kill()
    assert wait_until(lambda: names.looked_for_by(events.pid, worker)), place.logs()
    assert events.stop() == 0, place.logs()
    assert web.stop() == 0, place.logs()
    broker.start()
