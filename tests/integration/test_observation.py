"""Do the figures and the traces of real processes show what really happened?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skyrelay.client import Client
from skyrelay.messages import Outcome
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.collector import Collector, collector
from tests.support.figures import Figures
from tests.support.gateway import PASSWORD
from tests.support.processes import wait_until
from tests.support.servers import TRIAL, Installation, answers, installation
from tests.support.station import Replica


@dataclass
class Observed:
    """An installation under observation."""

    place: Installation
    replica: Replica
    client: Client
    collector: Collector
    web: str
    events: str
    stage: str

    def task(self, **trial: object) -> int:
        """A new task that does what is said."""
        image = self.place.folder / "image.fits"
        image.write_bytes(b"image")
        return self.client.create_task(image, config={"trial": trial}).id


@pytest.fixture
def observed(tmp_path: Path, amqp_uri: str) -> Iterator[Observed]:
    """Two processes of the web server, one of the events, one replica; a collector of traces."""
    database = f"sqlite:///{tmp_path / 'gateway.db'}"
    ports = free_ports(2)
    with (
        collector() as traces,
        installation(
            tmp_path,
            database,
            amqp_uri,
            **TRIAL,
            skyrelay_web_workers=2,
            skyrelay_traces=traces.address,
        ) as place,
    ):
        place.command("user", "create", "alice", "--password-stdin", text=PASSWORD)
        events, stage = (f"http://{LOOPBACK}:{port}" for port in ports)
        place.events(SKYRELAY_HEALTH_PORT=str(ports[0]))
        health = {"SKYRELAY_HEALTH_PORT": str(ports[1]), "OTEL_BSP_SCHEDULE_DELAY": "200"}
        replica = Replica(place.environment | health, tmp_path / "replica.log")
        try:
            _, web = place.web()
            assert wait_until(lambda: answers(f"{stage}/readyz")), replica.log.read_text()
            client = place.client(web, "alice")
            yield Observed(place, replica, client, traces, web, events, stage)
        finally:
            replica.end()


def test_what_has_not_happened_yet_is_told_as_none(observed: Observed) -> None:
    """Prometheus sees an increase between two looks: the first failure needs a zero before it."""
    stage, events = Figures(observed.stage), Figures(observed.events)
    for outcome in Outcome:
        assert stage.has("skyrelay_stage_running_seconds_count", stage="trial", outcome=outcome)
        assert events.has("skyrelay_run_seconds_count", outcome=outcome)
    for name in ("stage_retries_total", "worker_crashes_total", "stage_waiting_seconds_count"):
        assert stage.has(f"skyrelay_{name}", stage="trial")
    assert stage.has("skyrelay_kill_seconds_count", why="killed")


def test_figures_and_traces_tell_of_runs_that_ended_well_failed_and_were_killed(
    observed: Observed,
) -> None:
    client = observed.client
    task = observed.task(seconds=0.2, program="/bin/scamp -v 2> /dev/null; true")
    good = client.process(task, ["trial", "trial"]).celery_id
    assert client.wait(task, interval=0.05).state == "trial_done"
    bad = observed.task(act="retriable")
    client.process(bad, ["trial"])
    assert client.wait(bad, interval=0.05).state == "trial_failed"
    killed = observed.task(seconds=60)
    client.process(killed, ["trial"])
    assert wait_until(lambda: client.state(killed).state == "trial")
    client.cancel(killed)
    assert wait_until(lambda: Figures(observed.stage)("skyrelay_kill_seconds_count") == 1)

    stage = Figures(observed.stage)
    assert stage("skyrelay_stage_running_seconds_count", stage="trial", outcome="done") == 2
    assert stage("skyrelay_stage_running_seconds_sum", outcome="done") > 0.4
    assert stage("skyrelay_stage_running_seconds_count", outcome="failed") == 1
    assert stage("skyrelay_stage_waiting_seconds_count", stage="trial") >= 3
    assert stage("skyrelay_stage_retries_total", stage="trial") == 2
    assert stage("skyrelay_kill_seconds_count", why="killed") == 1
    assert stage("skyrelay_program_seconds_count", program="scamp", ending="ok") == 2
    assert wait_until(lambda: Figures(observed.stage)("skyrelay_workers_started_total") >= 2)
    assert stage("skyrelay_slots") == 1

    # Whichever process answers, it tells of both.
    web = Figures(observed.web)
    assert web("skyrelay_http_requests_total", endpoint="api.creation.create_task") == 3
    events = Figures(observed.events)
    assert events("skyrelay_run_seconds_count", outcome="done") == 1
    assert events("skyrelay_run_seconds_count", outcome="failed") == 1
    assert web("skyrelay_run_seconds_count", outcome="cancelled") == 1
    assert events("skyrelay_open_runs") == 0
    assert events("skyrelay_queue_consumers", queue="work.trial") == 1
    assert events("skyrelay_backlog_readable") == 3
    assert events("skyrelay_store_free_bytes") > 0
    assert events.has("skyrelay_outbox_lag_seconds")

    wanted = {
        "POST /api/tasks/<int:task_id>/process/",
        "send RunStage",
        "wait trial",
        "trial",
        "program scamp",
        "record StageFinished",
        "run",
    }
    assert wait_until(lambda: wanted <= observed.collector.of(good).keys(), 15), (
        observed.collector.of(good).keys()
    )
    spans = observed.collector.of(good)
    assert spans["run"].parent == ""
    assert {spans[name].parent for name in wanted - {"run", "program scamp"}} == {spans["run"].id}
    attempts = [span for span in observed.collector.spans if span.name == "trial"]
    assert spans["program scamp"].parent in {span.id for span in attempts}
    assert {span.process for span in spans.values()} == {
        "skyrelay-gateway-web",
        "skyrelay-gateway-events",
        "skyrelay-trial",
    }
