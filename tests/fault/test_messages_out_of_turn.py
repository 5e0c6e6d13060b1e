"""What do messages change that come twice, late, or in the wrong order? Nothing.

In the first tests the stages are played: each event is published by hand over the real broker to
a real gateway. In the last one everything is real, and every message comes three times.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gateway.core import Gateway
from gateway.models import AttemptState, DeadLetter, Run, RunState, StageAttempt, Task
from skyrelay.broker import topology
from skyrelay.broker.publisher import Publisher
from skyrelay.client import Client, RequestRefused
from skyrelay.messages import Event, Outcome, RunStage
from skyrelay.stack.broker_node import BrokerNode
from tests.support.fleet import fleet
from tests.support.gateway import Bench, opened
from tests.support.invariants import verdict, wait_for_the_end
from tests.support.postgres import DATABASES, a_database
from tests.support.processes import wait_until
from tests.support.queues import echo, take
from tests.support.servers import TRIAL, Installation, installation


@dataclass
class Stage:
    """A real gateway, and stages that the test plays to it over the broker."""

    client: Client
    gateway: Gateway
    bench: Bench
    publisher: Publisher
    amqp_uri: str
    commands: list[RunStage] = field(default_factory=list)

    def begin(self, *steps: str) -> RunStage:
        """Begin a run; the command for its first stage."""
        task = self.client.create_task(original_name="a.fits").id
        run = self.client.process(task, steps or ("trial",)).celery_id
        return self.command(run, 0)

    def command(self, run: object, index: int) -> RunStage:
        """The one command that the gateway gives for a stage of a run."""
        while not (found := self.commands_for(run, index)):
            self.commands += take(self.amqp_uri, "work.trial")
        (command,) = found
        return command

    def commands_for(self, run: object, index: int) -> set[RunStage]:
        """The commands that have been taken from the queue for a stage of a run.

        A gateway whose publisher had to wait may say the same one twice.
        """
        return {each for each in self.commands if (str(each.run), each.index) == (str(run), index)}

    def tell(self, *events: Event) -> None:
        """Publish the events in this order; returns when the gateway has recorded them all."""
        for event in events:
            self.publisher.publish(event)
        last = self.begin()
        self.publisher.publish(self.bench.started(last))
        assert wait_until(lambda: self.attempt(last).state == AttemptState.RUNNING)

    def run(self, command: RunStage) -> Run:
        with self.gateway.database.reading() as session:
            return session.get_one(Run, str(command.run))

    def attempt(self, command: RunStage) -> StageAttempt:
        with self.gateway.database.reading() as session:
            key = (str(command.run), command.index, command.part, command.attempt)
            return session.get_one(StageAttempt, key)

    def task(self, command: RunStage) -> Task:
        with self.gateway.database.reading() as session:
            return session.get_one(Task, command.task)


@pytest.fixture(name="stage", scope="module", params=DATABASES)
def a_stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, broker: BrokerNode
) -> Iterator[Stage]:
    """One consumer of events, so that what is published first is recorded first."""
    folder = tmp_path_factory.mktemp("played")
    broker.start()
    uri = broker.add_vhost(folder.name)
    with (
        a_database(request, folder) as url,
        installation(folder, url, uri, **TRIAL) as place,
        opened(folder, url) as gateway,
        Publisher(uri) as publisher,
    ):
        place.events()
        _, address = place.web()
        place.user("alice")
        yield Stage(place.client(address, "alice"), gateway, Bench(gateway), publisher, uri)
    with suppress(RuntimeError):  # See `amqp_uri`.
        broker.delete_vhost(folder.name)


def test_a_stage_that_is_said_to_begin_after_its_end_has_ended(stage: Stage) -> None:
    command = stage.begin()
    finished = stage.bench.finished(command)
    stage.tell(
        finished,
        stage.bench.started(command),
        stage.bench.progressed(command, 0.3, "too late"),
        finished,
    )
    attempt = stage.attempt(command)
    assert (stage.run(command).state, stage.task(command).state) == (RunState.DONE, "trial_done")
    assert (attempt.state, attempt.fraction, attempt.doing) == (AttemptState.DONE, 1.0, "")


def test_of_two_outcomes_of_one_attempt_the_first_counts(stage: Stage) -> None:
    command = stage.begin("trial", "trial")
    finished = stage.bench.finished(command)
    other = finished.model_copy(update={"outcome": Outcome.FAILED, "reasons": ("No.",)})
    stage.tell(finished, other, finished, finished)
    run = stage.run(command)
    assert (run.state, run.position, run.reasons) == (RunState.OPEN, 1, [])


def test_the_next_stage_is_asked_for_once_however_often_one_has_ended(stage: Stage) -> None:
    command = stage.begin("trial", "trial")
    finished = stage.bench.finished(command)
    stage.tell(*[finished] * 5)
    stage.command(command.run, 1)
    stage.tell(finished)
    assert len(stage.commands_for(command.run, 1)) == 1


def test_news_of_an_earlier_stage_change_nothing(stage: Stage) -> None:
    first = stage.begin("trial", "trial")
    finished = stage.bench.finished(first)
    stage.publisher.publish(finished)
    second = stage.command(first.run, 1)
    stage.tell(
        stage.bench.started(second),
        stage.bench.started(first),
        stage.bench.progressed(first, 0.2, "long ago"),
        finished.model_copy(update={"outcome": Outcome.FAILED, "reasons": ("No.",)}),
    )
    assert (stage.run(first).state, stage.run(first).position) == (RunState.OPEN, 1)
    assert stage.attempt(second).state == AttemptState.RUNNING
    assert stage.attempt(first).state == AttemptState.DONE
    stage.tell(stage.bench.finished(second))
    assert stage.run(first).state == RunState.DONE


def test_news_of_a_superseded_attempt_change_nothing(stage: Stage) -> None:
    first = stage.begin()
    second = first.model_copy(update={"attempt": 2})
    late = stage.bench.finished(first, Outcome.FAILED, "It was superseded.")
    stage.tell(stage.bench.started(first), stage.bench.started(second), late)
    assert stage.run(first).state == RunState.OPEN
    assert stage.attempt(first).state == AttemptState.SUPERSEDED
    late = late.model_copy(update={"outcome": Outcome.DONE})
    stage.tell(late, stage.bench.started(first))
    assert stage.run(first).state == RunState.OPEN
    assert stage.attempt(second).state == AttemptState.RUNNING
    stage.tell(stage.bench.finished(second))
    assert stage.run(first).state == RunState.DONE
    assert stage.attempt(second).state == AttemptState.DONE


def test_news_of_a_cancelled_run_do_not_wake_it(stage: Stage) -> None:
    command = stage.begin("trial", "trial")
    finished = stage.bench.finished(command)
    stage.client.cancel(command.task)
    stage.tell(stage.bench.started(command), finished, stage.bench.progressed(command, 0.5))
    assert stage.run(command).state == RunState.CANCELLED
    assert stage.task(command).state == "cancelled"


def test_news_of_a_stage_that_was_never_asked_for_change_nothing(stage: Stage) -> None:
    command = stage.begin("trial", "trial")
    ahead = stage.bench.finished(command).model_copy(update={"index": 1})
    stage.tell(ahead)
    assert (stage.run(command).state, stage.run(command).position) == (RunState.OPEN, 0)


@pytest.mark.parametrize(
    "database_url",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)],
    indirect=True,
)
def test_everything_said_three_times_is_done_once(
    place: Installation, amqp_uri: str, tmp_path: Path
) -> None:
    dice = random.Random(4)
    traces: dict[str, Path] = {}
    orders = ["done", "cancel", "retriable once", "permanent", "in parts"]
    parts = {"parts": 3, "trace": str(tmp_path / "parts")}
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place, slots=2) as made,
        echo(amqp_uri, dice) as said,
    ):
        for number in range(20):
            what = orders[number % len(orders)]
            trace = tmp_path / f"trace-{number}"
            # One that is to be cancelled must not be over before.
            seconds = 30.0 if what == "cancel" else dice.uniform(0, 0.3)
            order = {"trace": str(trace), "stamps": True, "seconds": seconds}
            if what in ("retriable once", "permanent"):
                order["act"] = what
            task = made.ask(lambda client: client.create_task(original_name="a.fits")).id
            steps = ["trial", "divided" if what == "in parts" else "trial", "trial"]
            traces[made.process(task, steps, order, divided=parts)] = trace
            if what == "cancel":
                with pytest.raises(RequestRefused, match="not running"):
                    for _ in range(2):
                        made.ask(lambda client, at=task: client.cancel(at))
        with Publisher(amqp_uri) as publisher:
            publisher.publish_raw(b"nobody can read this", topology.dead_route("trial"))
        assert wait_for_the_end(gateway, 120.0), made.logs()
        said.stop()
        found = verdict(made, gateway, traces, amqp_uri, unharmed=True)
        with gateway.database.reading() as session:
            states = [session.get_one(Run, run).state for run in traces]
            put_aside = session.scalar(select(func.count()).select_from(DeadLetter))
    assert not found, "\n".join([*found, made.logs()])
    assert said.said > 2 * len(traces)
    assert put_aside == 1
    lines = (tmp_path / "parts").read_text().splitlines()
    words = Counter(line.partition(" pid=")[0] for line in lines)
    split = len(traces) // len(orders)
    done = [f"{word} {part}" for word in ("begun", "ended") for part in (1, 2, 3)]
    assert words == dict.fromkeys(["prepared", "joined", *done], split)
    by_order = {what: set(states[at :: len(orders)]) for at, what in enumerate(orders)}
    assert by_order == {
        "done": {RunState.DONE},
        "cancel": {RunState.CANCELLED},
        "retriable once": {RunState.DONE},
        "permanent": {RunState.FAILED},
        "in parts": {RunState.DONE},
    }
