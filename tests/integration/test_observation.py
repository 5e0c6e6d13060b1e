"""Do the figures and the traces of real processes show what really happened?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import requests

from gateway.models import AttemptState, Duty, IntakeState
from skyrelay.broker import topology
from skyrelay.cli.doctor.sky import KNOWN
from skyrelay.client import Client
from skyrelay.episodes import Ending
from skyrelay.messages import Outcome
from skyrelay.programs import PROGRAMS
from skyrelay.stack.ports import LOOPBACK, free_ports
from skyrelay.stage.programs import OTHER
from skyrelay.stages import STAGES
from tests.support.collector import Collector, collector
from tests.support.figures import Figures, readable
from tests.support.gateway import PASSWORD, Bench, opened
from tests.support.processes import children_of, wait_until
from tests.support.queues import taken
from tests.support.receiver import receiving
from tests.support.servers import TRIAL, Installation, Server, answers, installation
from tests.support.station import Replica
from tests.trial_service.stages import DIVIDED
from tests.trial_service.stages import TRIAL as TRIAL_STAGE

SERVICES_OF_THE_SKY = {service.name for service in KNOWN}


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
    amqp_uri: str
    server: Server

    def task(self, **trial: object) -> int:
        """A new task that does what is said."""
        image = self.place.folder / "image.fits"
        image.write_bytes(b"image")
        return self.client.create_task(image, config={"trial": trial}).id

    def followups(self) -> int:
        """The process that is a child of that of the events."""
        (pid,) = children_of(self.server.pid)
        return pid

    def endpoints(self) -> set[str]:
        """All that the web server answers."""
        with opened(self.place.folder, self.place.environment["DATABASE_URL"]) as gateway:
            bench = Bench(gateway)
            bench.close()
            return set(bench.app.view_functions)


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
            skyrelay_webhook_networks="127.0.0.0/8",
            skyrelay_webhook_delays="[3600]",
            skyrelay_watch_interval=0.2,
            skyrelay_queue_window=1,
            skyrelay_traces=traces.address,
            otel_bsp_schedule_delay=200,
        ) as place,
    ):
        place.command("user", "create", "alice", "--staff", "--password-stdin", text=PASSWORD)
        events, stage = (f"http://{LOOPBACK}:{port}" for port in ports)
        server = place.events(SKYRELAY_HEALTH_PORT=str(ports[0]))
        health = {"SKYRELAY_HEALTH_PORT": str(ports[1])}
        replica = Replica(place.environment | health, tmp_path / "replica.log")
        try:
            _, web = place.web()
            assert wait_until(lambda: answers(f"{stage}/readyz")), replica.log.read_text()
            assert wait_until(lambda: answers(f"{events}/readyz")), server.log.read_text()
            client = place.client(web, "alice")
            yield Observed(place, replica, client, traces, web, events, stage, amqp_uri, server)
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
    for service in SERVICES_OF_THE_SKY:
        for ending in ("ok", "failed", "refused"):
            assert stage.has("skyrelay_sky_asked_total", service=service, ending=ending)
        assert stage.has("skyrelay_sky_seconds_count", service=service)
        assert stage.has("skyrelay_sky_received_bytes_total", service=service)
        assert stage.has("skyrelay_sky_cache_total", service=service, ending="miss")
    for program in (*(program.name for program in PROGRAMS), OTHER):
        assert stage.has("skyrelay_program_seconds_count", program=program, ending="failed")
    web = Figures(observed.web)
    for endpoint in observed.endpoints() - {"health.alive", "health.ready", "health.metrics"}:
        assert web.has("skyrelay_http_requests_total", endpoint=endpoint, status="5xx"), endpoint
    for kind in ("image", "cutout"):
        assert web.has("skyrelay_picture_seconds_count", kind=kind, ending="failed")
    # The process of the follow-ups may have begun a moment later.
    loop = {"loop": "take"}
    assert wait_until(
        lambda: Figures(observed.events).has("skyrelay_follow_up_interruptions_total", **loop)
    )
    events = Figures(observed.events)
    for kind in ("webhook", "analysis"):
        for ending in ("taken", "failed", "given up"):
            assert events.has("skyrelay_call_seconds_count", kind=kind, ending=ending)
    for state in ("taken", "duplicate", "refused", "waiting"):
        assert events.has("skyrelay_intake_files_total", state=state)
    for duty in Duty:
        assert events.has("skyrelay_follow_ups_total", duty=duty, ending="put off")


def test_every_process_tells_since_when_it_runs_whoever_answers(observed: Observed) -> None:
    """What changes from one look to the next is counted as a restart."""
    for address in (observed.web, observed.events, observed.stage):
        told = [Figures(address)("process_start_time_seconds") for _ in range(20)]
        assert len(set(told)) == 1
        assert 0 < told[0] <= time.time()


def test_figures_and_traces_tell_of_runs_that_ended_well_failed_and_were_killed(
    observed: Observed,
) -> None:
    client = observed.client
    # Somebody listens, but not to the ends of runs.
    client.create_webhook("http://127.0.0.1:9/", ["candidates.found"])
    task = observed.task(seconds=0.2, program="/bin/scamp -v 2> /dev/null; true")
    good = client.process(task, ["trial", "trial"]).celery_id
    assert client.wait(task, interval=0.05).state == "trial_done"
    bad = observed.task(act="retriable")
    client.process(bad, ["trial"])
    assert client.wait(bad, interval=0.05).state == "trial_failed"
    killed = observed.task(seconds=60)
    client.process(killed, ["trial"])
    assert wait_until(lambda: client.state(killed).state == "trial")
    assert Figures(observed.stage)("skyrelay_in_hand") == 1
    client.cancel(killed)
    assert wait_until(lambda: Figures(observed.stage)("skyrelay_kill_seconds_count") == 1)
    deadly = observed.task(act="die")
    client.process(deadly, ["trial"])
    assert client.wait(deadly, interval=0.05).state == "trial_failed"

    # The gateway may hear of an end before the replica knows that it was heard.
    stage = Figures.when(observed.stage, lambda told: told("skyrelay_in_hand") == 0)
    assert stage("skyrelay_stage_running_seconds_count", stage="trial", outcome="done") == 2
    assert stage("skyrelay_stage_running_seconds_sum", outcome="done") > 0.4
    assert stage("skyrelay_stage_running_seconds_count", outcome="failed") == 2
    assert stage("skyrelay_stage_waiting_seconds_count", stage="trial") >= 3
    assert stage("skyrelay_stage_retries_total", stage="trial") == 4
    assert stage("skyrelay_worker_crashes_total", stage="trial") == 3
    assert stage("skyrelay_in_hand") == 0
    assert stage("skyrelay_kill_seconds_count", why="killed") == 1
    assert stage("skyrelay_program_seconds_count", program="scamp", ending="ok") == 2
    assert wait_until(lambda: Figures(observed.stage)("skyrelay_workers_started_total") >= 2)
    assert stage("skyrelay_slots") == 1

    # Whichever process answers, it tells of both.
    web = Figures(observed.web)
    made = {"endpoint": "api.creation.create_task"}
    assert web("skyrelay_http_requests_total", **made) == 4
    assert web("skyrelay_http_seconds_count", **made) == 4
    assert web("skyrelay_http_seconds_sum", **made) > 0
    # Four images of five bytes, among much else.
    assert web("skyrelay_http_received_bytes_total") > 20
    assert web("skyrelay_http_sent_bytes_total") > 0
    events = Figures.when(
        observed.events,
        lambda told: (
            told("skyrelay_run_seconds_count", outcome="failed") == 2
            and sum(readable(told).values()) == 3
        ),
    )
    assert events("skyrelay_run_seconds_count", outcome="done") == 1
    assert events("skyrelay_run_seconds_count", outcome="failed") == 2
    assert web("skyrelay_run_seconds_count", outcome="cancelled") == 1
    assert events("skyrelay_open_runs") == 0
    assert events("skyrelay_queue_consumers", queue="work.trial") == 1
    assert sum(readable(events).values()) == 3
    assert events("skyrelay_store_free_bytes") > 0
    # The tasks are in a folder.
    assert not stage.has("skyrelay_store_seconds_count")
    assert not stage.has("skyrelay_scratch_free_bytes")
    assert not stage.has("skyrelay_scratch_size_bytes")
    assert events.has("skyrelay_outbox_lag_seconds")

    wanted = {
        "POST /api/tasks/<int:task_id>/process/",
        "send RunStage",
        "wait trial",
        "trial",
        "program scamp",
        "send StageFinished",
        "record StageFinished",
        "notify",
        "run",
    }
    assert wait_until(lambda: wanted <= observed.collector.of(good).keys()), observed.collector.of(
        good
    ).keys()
    spans = observed.collector.of(good)
    assert spans["run"].parent == ""
    assert {spans[name].parent for name in wanted - {"run", "program scamp"}} == {spans["run"].id}
    attempts = [span for span in observed.collector.spans if span.name == "trial"]
    assert spans["program scamp"].parent in {span.id for span in attempts}
    assert {span.process for span in spans.values()} == {
        "skyrelay-gateway-web",
        "skyrelay-gateway-events",
        "skyrelay-gateway-followups",
        "skyrelay-trial",
    }
    labels_are_bounded(observed)


def test_bytes_are_counted_that_were_read_whatever_was_announced(observed: Observed) -> None:
    token = {"Authorization": f"Token {observed.client.token}"}

    def received() -> float:
        return Figures(observed.web)("skyrelay_http_received_bytes_total")

    before = received()
    connection = HTTPConnection(observed.web.removeprefix("http://"), timeout=60)
    announced = {"Content-Length": str(10**15), "Content-Type": "application/json"}
    connection.request("POST", "/api/tasks/", headers=announced | token)
    assert connection.getresponse().status == 413
    connection.close()
    assert received() == before
    body = b'{"original_name": "a.fits"}'
    chunks = (body[:5], body[5:])
    answer = requests.post(
        f"{observed.web}/api/tasks/",
        data=iter(chunks),
        headers={"Content-Type": "application/json"} | token,
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    assert received() == before + len(body)


def labels_are_bounded(observed: Observed) -> None:
    """Whatever is asked for, and whatever happens: each label has one of few known values."""
    for path in ("/api/tasks/99999/", "/nothing/of/the/kind", "/api/tasks/1/files/%00"):
        requests.get(f"{observed.web}{path}", timeout=60)
    requests.request("BREW", f"{observed.web}/api/tasks/", timeout=60)
    steps = {stage.step for stage in (*STAGES, TRIAL_STAGE, DIVIDED)}
    queues = {queue.name for queue in topology.queues((0.3, 0.6))}
    queues |= {"work.trial", "work.trial.large"}
    allowed = {
        "stage": steps,
        "outcome": {*Outcome, "superseded"},
        "why": {"killed", "time is up", "handed back"},
        "program": {program.name for program in PROGRAMS} | {OTHER},
        "ending": {*Ending, "done", "put off", "made", "refused", "too busy", "taken", "given up"},
        "status": {f"{n}xx" for n in range(1, 6)},
        "endpoint": observed.endpoints() | {"none"},
        "queue": queues | {queue.removeprefix("work.") for queue in queues},
        "state": {*AttemptState, *IntakeState},
        "part": {"database", "broker", "store"},
        "duty": set(Duty),
        "kind": {"image", "cutout", "webhook", "analysis"},
        "service": SERVICES_OF_THE_SKY,
        "loop": set("index announce spread deliver fetch compose answer look take tidy".split()),
    }
    for address in (observed.web, observed.events, observed.stage):
        for sample in Figures(address).samples:
            for name, value in sample.labels.items():
                if sample.name.startswith("skyrelay_") and name != "le":
                    assert value in allowed[name], sample


def test_a_message_carries_its_trace_and_waits_in_sight(observed: Observed) -> None:
    client, task = observed.client, observed.task()
    observed.replica.end()
    outer = f"{uuid4().int:032x}"
    begun = requests.post(
        f"{observed.web}/api/tasks/{task}/process/",
        json={"steps": ["trial"]},
        headers={
            "Authorization": f"Token {client.token}",
            "traceparent": f"00-{outer}-00f067aa0ba902b7-01",
        },
        timeout=60,
    )
    run = UUID(begun.json()["celery_id"])

    def waiting() -> bool:
        figures = Figures(observed.events)
        where = {"queue": "work.trial"}
        return (
            figures("skyrelay_queue_messages", **where) >= 1
            and figures("skyrelay_queue_consumers", **where) == 0
        )

    assert wait_until(waiting)
    # Of the processes with an outbox, another may send again what the first is slow to remove.
    message = taken(observed.amqp_uri, "work.trial")[0]
    version, trace, span, flags = message.headers["traceparent"].split("-")
    assert (version, UUID(trace), flags) == ("00", run, "01")
    spans = observed.collector

    def sent() -> set[str]:
        return {
            each.id for each in spans.spans if (each.trace, each.name) == (run, "send RunStage")
        }

    assert wait_until(lambda: span in sent())
    # The request is part of the run's trace, and linked to that of the client.
    request = "POST /api/tasks/<int:task_id>/process/"
    assert wait_until(lambda: request in spans.of(str(run)))
    assert spans.of(str(run))[request].links == [outer]


def test_what_follows_a_run_is_told_at_the_port_of_the_events(observed: Observed) -> None:
    client = observed.client
    folder = observed.place.folder / "data/night"
    folder.mkdir(parents=True)
    client.watch("night")
    with receiving() as receiver:
        receiver.status = 500
        client.create_webhook(receiver.url)
        task = observed.task()
        run = client.process(task, ["trial"]).celery_id
        assert client.wait(task, interval=0.05).state == "trial_done"
        assert wait_until(
            lambda: Figures(observed.events)("skyrelay_call_seconds_count", ending="failed") == 1
        )
    assert wait_until(lambda: _all_is_done(Figures(observed.events)))
    figures = Figures(observed.events)
    assert figures("skyrelay_call_seconds_count", kind="webhook") == 1
    assert figures("skyrelay_watch_folders_unreadable") == 0
    folder.rmdir()
    assert wait_until(lambda: Figures(observed.events)("skyrelay_watch_folders_unreadable") == 1)
    spans = observed.collector
    assert wait_until(lambda: "call webhook" in spans.of(run))
    assert spans.of(run)["call webhook"].parent == spans.of(run)["run"].id

    # It is a process of its own. What it has counted outlives it; what it saw last does not.
    os.kill(observed.followups(), signal.SIGKILL)
    assert wait_until(lambda: Figures(observed.events)("skyrelay_followups_deaths_total") == 1)
    assert Figures(observed.events)("skyrelay_call_seconds_count", kind="webhook") == 1
    assert wait_until(lambda: Figures(observed.events)("skyrelay_watch_folders_unreadable") == 1)


def _all_is_done(figures: Figures) -> bool:
    """Whether the duties of a run are done, and the watched folders were looked into."""
    looked = figures("skyrelay_watch_looked_timestamp_seconds")
    return (
        figures("skyrelay_follow_ups_total", duty="notify", ending="done") >= 1
        and figures("skyrelay_follow_ups_waiting") == 0
        and abs(looked - time.time()) < 600
    )
