"""What does the loss of the broker, or of its patience, cost? Time, and nothing else."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import requests

from skyrelay.messages import Outcome
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import free_ports
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.support.report import Report
from tests.support.servers import Installation
from tests.support.station import Station, group_of, until


def test_a_broker_restart_in_mid_stage_costs_nothing(broker: BrokerNode, station: Station) -> None:
    replica = station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    before = replica.times_said("consuming")
    broker.restart()
    assert wait_until(lambda: replica.times_said("consuming") > before), station.logs()
    go.touch()
    finished = station.finished(command)
    assert finished.outcome is Outcome.DONE
    following = station.order()
    assert station.finished(following).outcome is Outcome.DONE
    station.assert_sound(command, following, begun=1)


def test_an_outcome_waits_for_its_broker(broker: BrokerNode, station: Station) -> None:
    station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    broker.kill()
    go.touch()
    assert wait_until(lambda: station.ended(command) == 1)
    time.sleep(0.5)
    broker.start()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)


def test_a_replica_that_drains_while_its_broker_is_away_does_its_stage_once(
    broker: BrokerNode, station: Station, report: Report
) -> None:
    replica = station.ready_replica()
    go = station.folder / "go"
    command = station.order(program=until(go), children="obedient")
    station.wait_for_begin(command)
    broker.kill()
    replica.terminate()
    assert wait_until(lambda: replica.said("draining"))
    go.touch()
    assert wait_until(lambda: station.ended(command) == 1), station.logs()
    assert replica.running, "its outcome has not been sent"
    broker.start()
    with report.time("broker up again to the outcome of a replica that drains"):
        assert station.finished(command).outcome is Outcome.DONE
    assert replica.wait() == 0
    station.ready_replica()
    following = station.order()
    assert station.finished(following).outcome is Outcome.DONE
    station.assert_sound(command, following, begun=1)


def test_a_stage_that_is_handed_back_while_the_broker_is_away_is_done_by_another(
    broker: BrokerNode, station: Station
) -> None:
    replica = station.ready_replica(drain_grace=0.5)
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    broker.kill()
    replica.terminate()
    assert replica.wait() == 0
    go.touch()
    broker.start()
    station.ready_replica()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=2)


def test_a_run_that_is_killed_while_the_broker_is_away_ends_at_once(
    broker: BrokerNode, station: Station, report: Report
) -> None:
    station.ready_replica()
    command = station.order(seconds=60, children=True)
    station.wait_for_begin(command)
    broker.kill()
    with report.time("kill without a broker to the end of the last process"):
        station.store.cancel_run(command.task, command.run)
        worker = station.workers(command)[0]
        assert wait_until(lambda: not group_of(worker)), station.logs()
    broker.start()
    assert station.finished(command).outcome is Outcome.CANCELLED
    station.assert_sound(command, begun=1)


def test_a_replica_waits_for_a_broker_that_is_not_up_yet(
    broker: BrokerNode, station: Station
) -> None:
    broker.stop()
    replica = station.replica()
    assert wait_until(lambda: replica.said("the broker is away"))
    broker.start()
    assert wait_until(lambda: replica.said("consuming"))
    command = station.order()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)


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
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                assert all(json.load(answer).values())
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert wait_until(lambda: status("/readyz") == 200)
    assert wait_until(lambda: (status("/healthz"), status("/livez")) == (200, 200))
    assert status("/nothing") == 404
    broker.stop()
    assert wait_until(lambda: status("/healthz") == 503)
    assert wait_until(lambda: status("/livez") == 200), "to restart it would mend nothing"
    broker.start()
    assert wait_until(lambda: status("/healthz") == 200)


def test_a_gateway_with_nothing_to_publish_says_that_its_broker_is_away(
    place: Installation, network: Proxy
) -> None:
    place.environment["AMQP_URI"] = network.uri(place.environment["AMQP_URI"])
    _, web = place.web()

    def has_broker() -> bool:
        answer = requests.get(f"{web}/readyz", timeout=30)
        assert answer.status_code == 200
        return bool(answer.json()["broker"])

    assert wait_until(has_broker)
    network.refuse()
    network.reset()
    assert wait_until(lambda: not has_broker()), place.logs()
    network.accept_again()
    assert wait_until(has_broker), place.logs()
