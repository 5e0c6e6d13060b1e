"""Is a connection that has died without a word noticed, and what does it cost?

No FIN, no RST: a firewall has forgotten the connection, or the broker's machine hangs. The
invariant: every command comes to exactly one end, its work is never done twice at the same time,
and whoever has lost the broker says so, comes back by itself, and obeys again.
"""

from __future__ import annotations

from skyrelay.broker.publisher import Publisher
from skyrelay.messages import Outcome, StageStarted
from skyrelay.question import Question
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.support.report import Report
from tests.support.servers import Installation, status
from tests.support.station import Replica, Station, until

#: Of the replica, in seconds: a silent connection is given up after two of them.
HEARTBEAT = 3


def replica_behind(network: Proxy, station: Station, **settings: object) -> Replica:
    return station.ready_replica(
        amqp_uri=network.uri(station.amqp_uri), heartbeat=HEARTBEAT, **settings
    )


def test_a_consumer_returns_and_does_not_work_twice_at_once(
    network: Proxy, station: Station, report: Report
) -> None:
    replica = replica_behind(network, station)
    go = station.folder / "go"
    command = station.order(program=until(go))
    station.wait_for_begin(command)
    before = replica.times_said("consuming")
    with report.time(f"black hole (heartbeat {HEARTBEAT} s) to the consumer's return"):
        assert wait_until(lambda: network.swallow("skyrelay commands"))
        assert wait_until(lambda: replica.times_said("consuming") > before), station.logs()
    go.touch()
    assert station.finished(command).outcome is Outcome.DONE
    assert station.finished(station.order()).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)


def test_another_replica_waits_for_the_one_that_cannot_be_reached(
    network: Proxy, station: Station
) -> None:
    replica_behind(network, station)
    command = station.order(seconds=120, children=True)
    station.wait_for_begin(command)
    network.swallow_all()
    other = station.ready_replica()
    assert wait_until(lambda: other.said("somebody else works on it")), station.logs()
    assert station.begun(command) == 1
    # No kill reaches who works on it, who sees it in the store.
    station.kill(command)
    assert wait_until(lambda: station.leftovers() == []), station.logs()
    network.heal()
    assert station.finished(command).outcome is Outcome.CANCELLED
    station.assert_sound(command, begun=1)


def test_a_kill_listener_returns_and_kills_again(
    network: Proxy, station: Station, report: Report
) -> None:
    replica = replica_behind(network, station)
    with report.time(f"black hole (heartbeat {HEARTBEAT} s) to the kill listener's return"):
        assert wait_until(lambda: network.swallow("skyrelay kills"))
        assert wait_until(lambda: replica.said("kills are not heard")), station.logs()
    command = station.order(seconds=60, children=True)
    station.wait_for_begin(command)
    station.kill(command)
    assert station.finished(command).outcome is Outcome.CANCELLED
    station.assert_sound(command, begun=1)


def test_a_kill_that_was_swallowed_acts_all_the_same(network: Proxy, station: Station) -> None:
    replica_behind(network, station)
    command = station.order(seconds=60, children=True)
    station.wait_for_begin(command)
    assert wait_until(lambda: network.swallow("skyrelay kills"))
    station.kill(command)
    assert station.finished(command).outcome is Outcome.CANCELLED
    station.assert_sound(command, begun=1)


def test_an_outcome_that_was_swallowed_is_sent_over_a_new_connection(
    network: Proxy, station: Station, report: Report
) -> None:
    replica_behind(network, station)
    go = station.folder / "go"
    command = station.order(program=until(go))
    assert wait_until(lambda: station.of(command, StageStarted)), station.logs()
    assert wait_until(lambda: network.swallow("skyrelay outcomes"))
    go.touch()
    assert wait_until(lambda: station.ended(command) == 1)
    with report.time("outcome swallowed by the network to its arrival"):
        assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)


def test_health_turns_red_while_the_network_swallows_and_comes_back(
    network: Proxy, station: Station, report: Report
) -> None:
    (port,) = free_ports(1)
    health = f"http://{LOOPBACK}:{port}/healthz"
    replica = replica_behind(network, station, health_port=port)
    assert wait_until(lambda: status(health) == 200)
    with report.time(f"black hole (heartbeat {HEARTBEAT} s) to a red replica"):
        network.swallow_all()
        assert wait_until(lambda: status(health) == 503)
    assert wait_until(lambda: replica.said("the broker is away")), "a try to connect has failed"
    with report.time("end of a black hole to a green replica"):
        network.heal()
        assert wait_until(lambda: status(health) == 200)
    command = station.order()
    assert station.finished(command).outcome is Outcome.DONE
    station.assert_sound(command, begun=1)


def test_a_publisher_leaves_a_broker_that_has_gone_mute(network: Proxy, amqp_uri: str) -> None:
    """Without heartbeats nothing tells it that no answer to its farewell will ever come."""
    publisher = Publisher(network.uri(amqp_uri), heartbeat=0)
    publisher.connect()
    network.swallow_all()
    Question("close", publisher.close).answer(60.0)


def test_the_processes_of_the_gateway_end_although_the_broker_has_gone_mute(
    place: Installation, network: Proxy
) -> None:
    place.environment["AMQP_URI"] = network.uri(place.environment["AMQP_URI"])
    (port,) = free_ports(1)
    events = place.events(SKYRELAY_HEALTH_PORT=str(port))
    web, _ = place.web()
    assert wait_until(lambda: status(f"http://{LOOPBACK}:{port}/readyz") == 200), place.logs()
    network.swallow_all()
    assert events.stop() == 0, place.logs()
    assert web.stop() == 0, place.logs()
