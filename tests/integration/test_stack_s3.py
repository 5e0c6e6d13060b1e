"""Do chains come to their end where gateway and services share a bucket and no folder?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from skyrelay.client import Client, RequestRefused
from skyrelay.stack.ports import LOOPBACK, free_ports
from skyrelay.store.figures import OPERATIONS
from tests.support.figures import Figures, readable
from tests.support.processes import wait_until
from tests.support.proxy import Proxy, proxy
from tests.support.s3 import BUCKET, S3Server, s3_server
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import Replica, until

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

#: Seconds for which nobody reaches the bucket: all machines look at it every second.
_AWAY = 3.0
#: Seconds after which any claim may be taken that nobody has renewed.
_LONG = 120


class Machine(Replica):
    """A replica that has its own line to the broker and to the bucket."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        there = {name: environment[name] for name in ("AMQP_URI", "AWS_ENDPOINT_URL")}
        self._open = ExitStack()
        self._lines = {name: self._open.enter_context(proxy(uri)) for name, uri in there.items()}
        here = {name: line.uri(there[name]) for name, line in self._lines.items()}
        super().__init__({**environment, **here}, log)

    def cut_off(self) -> None:
        """Break its connections, and let it make no others."""
        for line in self._lines.values():
            line.refuse()

    def connect_again(self) -> None:
        """Let it make connections again."""
        for line in self._lines.values():
            line.accept_again()

    def end(self) -> None:
        super().end()
        self._open.close()


class Machines:
    """A gateway and two replicas, each with a scratch folder of its own."""

    def __init__(self, place: Installation, server: S3Server, proxy: Proxy) -> None:
        place.environment.update(
            server.environment(f"http://{LOOPBACK}:{proxy.port}"),
            TASKS_URL=f"s3://{BUCKET}/{place.folder.name}",
            SKYRELAY_S3_REDIRECT="true",
        )
        self.place, self.server, self.proxy = place, server, proxy
        events, *replicas = (str(port) for port in free_ports(3))
        place.events(SKYRELAY_HEALTH_PORT=events)
        self.told_at = [f"http://{LOOPBACK}:{port}" for port in (events, *replicas)]
        _, self.address = place.web()
        place.user("alice")
        self.client: Client = place.client(self.address, "alice")
        self.task = self.client.create_task(original_name="a.fits").id
        self.trace = place.folder / "trace"
        self.replicas = [
            Machine(
                {
                    **place.environment,
                    "TASKS_PATH": str(place.folder / f"machine-{number}"),
                    "SKYRELAY_HEALTH_PORT": port,
                },
                place.folder / f"replica-{number}.log",
            )
            for number, port in enumerate(replicas)
        ]
        for replica in self.replicas:
            assert wait_until(lambda replica=replica: replica.said("consuming"))

    def start(self, **order: object) -> None:
        """Begin a run of the divided stage."""
        order = {"parts": 4, "trace": str(self.trace), **order}
        self.client.process(self.task, ["divided"], {"divided": order})

    def state(self) -> str:
        """The state of the task after its run."""
        return str(self.client.wait(self.task, interval=0.05, timeout=120).state)

    def workers(self) -> set[int]:
        """Process ids of the workers that have begun a part."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return {int(line.split("pid=")[1].split()[0]) for line in lines if "begun" in line}

    def logs(self) -> str:
        said = [replica.log.read_text() for replica in self.replicas]
        return "\n".join([self.place.logs(), *said])


@pytest.fixture
def machines(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Machines]:
    with (
        s3_server(tmp_path / "s3.log") as server,
        installation(tmp_path, database_url, amqp_uri, **TRIAL) as place,
    ):
        before = Proxy((LOOPBACK, int(server.address.rpartition(":")[2])))
        made = Machines(place, server, before)
        try:
            yield made
        finally:
            before.close()
            for replica in made.replicas:
                replica.end()


def test_a_split_stage_is_done_on_machines_that_share_nothing_but_the_bucket(
    machines: Machines,
) -> None:
    go = machines.place.folder / "go"
    machines.start(hold=str(go))
    assert wait_until(lambda: len(machines.workers()) == 2), machines.logs()
    go.touch()
    assert machines.state() == "divided_done", machines.logs()
    assert machines.client.read(machines.task, "joined.txt") == b"1 2 3 4"
    answer = requests.get(
        f"{machines.address}/api/tasks/{machines.task}/files/joined.txt",
        headers={"Authorization": f"Token {machines.client.token}", "Range": "bytes=2-4"},
        timeout=30,
    )
    assert [step.status_code for step in answer.history] == [302]
    assert (answer.status_code, answer.content) == (206, b"2 3")

    of_events, *of_replicas = machines.told_at
    events = Figures.when(of_events, lambda told: readable(told)["store"] == 1)
    replicas = [Figures(address) for address in of_replicas]
    # The disk of the gateway says nothing about the bucket.
    assert not events.has("skyrelay_store_size_bytes")
    assert readable(events)["store"] == 1
    for figures in (events, *replicas, Figures(machines.address)):
        assert figures("skyrelay_store_seconds_count", ending="ok") > 0
        assert figures("skyrelay_store_bytes_total") > 0
        for operation in OPERATIONS:
            failures = {"operation": operation, "ending": "failed"}
            assert figures.has("skyrelay_store_seconds_count", **failures)
    for figures in replicas:
        room = os.statvfs(machines.place.folder)
        assert figures("skyrelay_scratch_size_bytes") == room.f_blocks * room.f_frsize
        assert figures("skyrelay_scratch_free_bytes") > 0


def test_the_log_of_a_stage_is_followed_while_it_works_on_another_machine(
    machines: Machines,
) -> None:
    machines.client.process(machines.task, ["trial"], {"trial": {"seconds": 600}})

    def followed() -> bool:
        try:
            said, live = machines.client.log(machines.task, "trial")
        except RequestRefused:
            return False
        return live and "The trial begins" in said

    assert wait_until(followed), machines.logs()
    machines.client.cancel(machines.task)
    assert machines.client.wait(machines.task).state == "cancelled"


def test_a_worker_that_comes_back_when_another_has_its_claim_changes_nothing(
    machines: Machines,
) -> None:
    trace, go = machines.trace, machines.place.folder / "go"
    order = {
        "trace": str(trace),
        "stamps": True,
        "program": until(Path(f"{go}-$PPID")),
    }

    def begun() -> list[str]:
        """Process ids of the workers that have begun the stage, the first one first."""
        lines = trace.read_text().splitlines() if trace.exists() else []
        return [line.split()[1] for line in lines if line.startswith("begun")]

    machines.client.process(machines.task, ["trial"], {"trial": order})
    assert wait_until(lambda: any(each.said("started") for each in machines.replicas))
    (lost,) = [each for each in machines.replicas if each.said("started")]
    lost.cut_off()
    machines.server.let_look_aged(_LONG)
    assert wait_until(lambda: len(begun()) == 2), machines.logs()
    machines.server.let_look_aged(0)
    lost.connect_again()
    first, second = begun()
    Path(f"{go}-{first}").touch()
    assert wait_until(lambda: lost.said("somebody else works on it")), machines.logs()
    assert not machines.client.runs(machines.task)[0].ended, machines.logs()
    Path(f"{go}-{second}").touch()
    assert machines.client.wait(machines.task, timeout=120).state == "trial_done", machines.logs()

    # The command of the one that came back is answered, too, and that is old news.
    ends = "finished", "nothing of its run is in the store"
    assert wait_until(
        lambda: sum(each.times_said(end) for each in machines.replicas for end in ends) >= 2
    ), machines.logs()
    (run,) = machines.client.runs(machines.task)
    assert [[each.state for each in stage.attempts] for stage in run.stages] == [["done"]]
    assert machines.client.state(machines.task).state == "trial_done"
    for half in ("first", "second"):
        stamp = machines.client.read(machines.task, f"stamps/0.{half}").decode()
        assert stamp.split()[-1] == second, machines.logs()
    assert begun() == [first, second]


def test_a_killed_worker_and_a_bucket_that_is_away_for_a_while_cost_time_alone(
    machines: Machines,
) -> None:
    machines.start(seconds=2.0)
    assert wait_until(machines.workers), machines.logs()
    os.kill(min(machines.workers()), signal.SIGKILL)
    machines.proxy.refuse()
    time.sleep(_AWAY)
    machines.proxy.accept_again()
    assert machines.state() == "divided_done", machines.logs()
    joined = machines.client.read(machines.task, "joined.txt")
    assert joined == b"1 2 3 4", machines.logs()


@pytest.mark.parametrize("how", ["refuse", "swallow_all"])
def test_a_bucket_that_is_away_is_told_by_a_process_that_is_well_itself(
    machines: Machines, how: str
) -> None:
    """Prometheus waits for ten seconds, and would say that the process is down."""
    events = machines.told_at[0]
    well = {"database": 1, "broker": 1, "store": 1}
    away = {**well, "store": 0}
    assert wait_until(lambda: readable(Figures(events)) == well)
    getattr(machines.proxy, how)()
    figures = Figures.when(events, lambda told: readable(told) == away)
    assert readable(figures) == away
    assert figures.has("skyrelay_outbox_lag_seconds")
    {"refuse": machines.proxy.accept_again, "swallow_all": machines.proxy.heal}[how]()
    assert wait_until(lambda: readable(Figures(events)) == well)
