"""What do all processes do when the broker has a queue of another version under one of our names?

They say so, wait, and go on by themselves when somebody has mended it.
"""

from __future__ import annotations

from pathlib import Path

from skyrelay.broker.connection import connect
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import wait_until
from tests.support.report import Report
from tests.support.servers import TRIAL, answers, installation, status
from tests.support.station import Replica

SENTENCE = "has this queue or exchange with other properties"


def test_processes_that_meet_a_queue_of_another_version_say_so_and_wait_for_its_end(
    tmp_path: Path, amqp_uri: str, report: Report
) -> None:
    with connect(amqp_uri, "test") as connection:
        connection.default_channel.queue_declare("gateway.dead", durable=True, auto_delete=False)
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    ports = free_ports(2)
    ours = [{"SKYRELAY_HEALTH_PORT": str(port)} for port in ports]
    health = [f"http://{LOOPBACK}:{port}/healthz" for port in ports]
    with installation(tmp_path, url, amqp_uri, **TRIAL) as place:
        web, address = place.web(ready=False)
        events = place.events(**ours[0])
        replica = Replica(place.environment | ours[1], tmp_path / "replica.log")
        try:
            place.user("alice")
            for process in (web, events, replica):
                said = wait_until(lambda it=process: SENTENCE in it.log.read_text())
                assert said, process.log.read_text()
            assert all(process.running for process in (web, events, replica))
            assert wait_until(lambda: [status(url) for url in health] == [503, 503])
            assert wait_until(lambda: answers(f"{address}/readyz")), "it still takes requests"
            client = place.client(address, "alice")
            task = client.create_task(original_name="a.fits").id
            client.process(task, ["trial"])
            with connect(amqp_uri, "test") as connection:
                connection.default_channel.queue_delete("gateway.dead")
            with report.time("a queue of another version deleted to the end of a waiting chain"):
                state = client.wait(task, interval=0.05, timeout=120).state
            assert state == "trial_done", place.logs()
            assert all(process.running for process in (web, events, replica))
            assert wait_until(lambda: all(map(answers, health)))
        finally:
            replica.end()
