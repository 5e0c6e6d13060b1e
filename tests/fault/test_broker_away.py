"""What does the loss of the broker, or of its patience, cost? Time, and nothing else."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from skyrelay.messages import Outcome
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import free_ports
from tests.support.processes import wait_until
from tests.support.station import Station


def test_a_broker_restart_in_mid_stage_costs_nothing(broker: BrokerNode, station: Station) -> None:
    station.ready_replica()
    command = station.order(seconds=12)
    station.wait_for_begin(command)
    broker.restart()
    finished = station.finished(command)
    assert finished.outcome is Outcome.DONE
    assert station.begun(command) == 1, station.logs()
    assert station.finished(station.order()).outcome is Outcome.DONE


def test_an_outcome_waits_for_its_broker(broker: BrokerNode, station: Station) -> None:
    station.ready_replica()
    command = station.order(seconds=1.5)
    station.wait_for_begin(command)
    broker.kill()
    assert wait_until(lambda: station.ended(command) == 1)
    time.sleep(0.5)
    broker.start()
    assert station.finished(command).outcome is Outcome.DONE
    assert station.begun(command) == 1


def test_a_replica_waits_for_a_broker_that_is_not_up_yet(
    broker: BrokerNode, station: Station
) -> None:
    broker.stop()
    replica = station.replica()
    assert wait_until(lambda: replica.said("the broker is away"))
    broker.start()
    assert wait_until(lambda: replica.said("consuming"))
    assert station.finished(station.order()).outcome is Outcome.DONE


def test_a_replica_ends_at_once_while_its_broker_is_away(
    broker: BrokerNode, station: Station
) -> None:
    replica = station.ready_replica()
    broker.stop()
    replica.terminate()
    assert replica.wait() == 0


def test_health_turns_red_without_a_broker_and_comes_back(
    broker: BrokerNode, station: Station
) -> None:
    port = free_ports(1)[0]
    station.ready_replica(health_port=port)

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                assert all(json.load(answer).values())
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert wait_until(lambda: status("/readyz") == 200)
    assert (status("/healthz"), status("/nothing")) == (200, 404)
    broker.stop()
    assert wait_until(lambda: status("/healthz") == 503)
    broker.start()
    assert wait_until(lambda: status("/healthz") == 200)
