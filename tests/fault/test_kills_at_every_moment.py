"""Does a kill end a run at whatever moment it comes, wherever the run is, and leave nothing?

Before its start, in the middle, with SExtractor at work, at the end, while the outcome is on its
way, twice at once on two gateways, and by deleting the task: on two replicas with all slots busy.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from astropy.io import fits

from gateway.models import Run, now
from skyrelay.client import Client, RequestRefused
from tests.support.fleet import Fleet, fleet
from tests.support.gateway import add_user, opened
from tests.support.invariants import verdict
from tests.support.processes import processes_with, wait_until
from tests.support.proxy import Proxy
from tests.support.servers import TRIAL, Installation, installation
from tests.support.station import until
from tests.trial_service.stage import RUN_VARIABLE, STAMPS

#: Users who begin runs and kill them, at the same time: more than there are slots.
USERS = 6
SLOTS = 2

#: Seconds after which a kill comes at the latest: two stages with their way through the broker
#: take about as long, on a busy machine longer.
LATEST = 0.8


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image on which SExtractor works for far longer than `KILL_SECONDS`."""
    path = tmp_path_factory.mktemp("noise") / "noise.fits"
    pixels = np.random.default_rng(1).normal(100.0, 5.0, (4000, 4000))
    fits.writeto(path, pixels.astype(np.float32))
    return path


@dataclass
class Killer:
    """A user who begins one run after another, and kills each."""

    made: Fleet
    clients: list[Client]
    dice: random.Random
    noise: Path
    name: str
    traces: dict[str, Path] = field(default_factory=dict)
    killed: dict[str, str] = field(default_factory=dict)
    moments: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def trial(self) -> None:
        """Begin a run and kill it in some way, sooner or later."""
        how = self.dice.choice(["cancel", "cancel", "cancel twice", "delete"])
        what = self.dice.choice(["short", "short", "children", "extract"])
        task = self.clients[0].create_task(original_name="a.fits").id
        run = self._begin(task, what)
        if what == "extract" and self.dice.random() < 0.7:
            self._wait_for_extractor(run)
        sleep(self.dice.uniform(0.0, LATEST))
        self.moments[run] = self._moment(run)
        answers = getattr(self, f"_{how.replace(' ', '_')}")(task)
        self.counts[f"{how}: {answers}"] += 1
        if 200 in answers:
            self.killed[run] = how
            if how == "delete":
                self.made.deleted[run] = now()
            else:
                self.made.cancelled.add(run)

    def _moment(self, run: str) -> str:
        """How far a run has come, as it says itself."""
        trace = self.traces[run]
        words = (
            [line.split()[0] for line in trace.read_text().splitlines()] if trace.exists() else []
        )
        if not words:
            return "before its start"
        if self._extracts(run):
            return "SExtractor"
        return "in the middle" if words[-1] == "begun" else "at the end of a stage"

    def _extracts(self, run: str) -> bool:
        found = processes_with(f"{RUN_VARIABLE}={run}")
        return any("source-extractor" in command for command in found.values())

    def _begin(self, task: int, what: str) -> str:
        trace = self.made.place.folder / f"trace-{self.name}-{len(self.traces)}"
        order: dict[str, object] = {"trace": str(trace), "stamps": True}
        match what:
            case "short":
                order["seconds"] = self.dice.uniform(0.0, 0.1)
            case "children":
                order |= {"seconds": self.dice.uniform(0.0, 0.6), "children": True}
            case "extract":
                order |= {"act": "extract", "image": str(self.noise)}
        run = self.clients[0].process(task, ["trial", "trial"], {"trial": order}).celery_id
        self.made.accepted[run] = task
        self.traces[run] = trace
        return run

    def _wait_for_extractor(self, run: str) -> None:
        if not wait_until(lambda: self._extracts(run)):
            self.wrong.append(f"run {run} has never come to SExtractor")

    def _cancel(self, task: int) -> list[int]:
        return [_status(self.clients[0].cancel, task)]

    def _cancel_twice(self, task: int) -> list[int]:
        """On both gateways at the same instant; at most one of them has stopped it."""
        answers: list[int] = []
        barrier = threading.Barrier(len(self.clients))

        def call(client: Client) -> None:
            barrier.wait()
            answers.append(_status(client.cancel, task))

        calls = [threading.Thread(target=call, args=(client,)) for client in self.clients]
        for each in calls:
            each.start()
        for each in calls:
            each.join()
        if sorted(answers) not in ([200, 400], [400, 400]):
            self.wrong.append(f"two cancels of task {task} were answered {answers}")
        return sorted(answers)

    def _delete(self, task: int) -> list[int]:
        self.clients[0].delete(task)
        if _status(self.clients[1].state, task) != 404:
            self.wrong.append(f"the deleted task {task} is still there")
        if (self.made.place.folder / "tasks" / str(task)).exists():
            self.wrong.append(f"the deleted task {task} still has a folder")
        return [200]


def _status(call: Callable[[int], object], task: int) -> int:
    """The HTTP status with which a request about a task is answered."""
    try:
        call(task)
    except RequestRefused as error:
        return error.status
    return 200


@pytest.fixture(name="made")
def a_fleet(place: Installation) -> Iterator[Fleet]:
    with fleet(place, slots=SLOTS) as made:
        yield made


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("database_url", "trials"),
    [
        ("sqlite", 8),
        pytest.param("sqlite", 40, marks=pytest.mark.soak),
        pytest.param("postgresql", 40, marks=pytest.mark.soak),
    ],
    indirect=["database_url"],
)
def test_a_kill_at_any_moment_ends_the_run_and_leaves_nothing(
    place: Installation, made: Fleet, amqp_uri: str, noise: Path, trials: int
) -> None:
    killers = [
        Killer(
            made,
            [place.client(address, "alice") for address in made.addresses],
            random.Random(number),
            noise,
            str(number),
        )
        for number in range(USERS)
    ]

    def work(killer: Killer) -> None:
        for _ in range(trials):
            killer.trial()

    threads = [threading.Thread(target=work, args=(killer,)) for killer in killers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    traces = {run: trace for killer in killers for run, trace in killer.traces.items()}
    with opened(place.folder, place.environment["DATABASE_URL"]) as gateway:
        found = verdict(made, gateway, traces, amqp_uri, unharmed=True)
        with gateway.database.reading() as session:
            states = {
                run: row.state for run in traces if (row := session.get(Run, run)) is not None
            }
    for killer in killers:
        found += killer.wrong
        for run, how in killer.killed.items():
            expected = None if how == "delete" else "cancelled"
            if states.get(run) != expected:
                found.append(f"run {run} was ended by {how}, and is {states.get(run)}")
    counts = sum((killer.counts for killer in killers), Counter[str]())
    print(f"\n{USERS * trials} kills {dict(counts)}, runs {Counter(states.values())}")
    assert not found, "\n".join([*found, made.logs()])
    ways = {
        (killer.killed[run], killer.moments[run]) for killer in killers for run in killer.killed
    }
    assert {how for how, _ in ways} == {"cancel", "cancel twice", "delete"}
    assert {moment for _, moment in ways} >= {"before its start", "in the middle", "SExtractor"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_killed_while_all_slots_are_busy_never_starts(
    place: Installation, made: Fleet, amqp_uri: str
) -> None:
    client = made.clients[0]
    traces: dict[str, Path] = {}

    def begin(**order: object) -> tuple[str, Path]:
        trace = place.folder / f"trace-{len(traces)}"
        task = client.create_task(original_name="a.fits").id
        given = {"trace": str(trace), "stamps": True, **order}
        run = made.process(task, ["trial"], given)
        traces[run] = trace
        return run, trace

    busy = [begin(seconds=600, children=True) for _ in range(2 * SLOTS)]
    assert wait_until(lambda: all(trace.exists() for _, trace in busy)), made.logs()
    cancelled, deleted = begin(), begin()
    assert made.cancel(cancelled[0])
    made.delete(deleted[0])
    for run, _ in busy:
        assert made.cancel(run)
    last, trace = begin()
    assert client.wait(made.accepted[last], interval=0.05).state == "trial_done"
    assert trace.exists() and not (cancelled[1].exists() or deleted[1].exists())
    with opened(place.folder, place.environment["DATABASE_URL"]) as gateway:
        found = verdict(made, gateway, traces, amqp_uri, unharmed=True)
    assert not found, "\n".join([*found, made.logs()])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_killed_while_its_outcome_is_on_its_way_is_over(
    tmp_path: Path, database_url: str, amqp_uri: str, network: Proxy
) -> None:
    traces: dict[str, Path] = {}
    with (
        installation(tmp_path, database_url, network.uri(amqp_uri), **TRIAL) as place,
        opened(tmp_path, database_url) as gateway,
        fleet(place, replicas=1) as made,
    ):
        for stop in (Fleet.cancel, Fleet.delete):
            task = made.clients[0].create_task(original_name="a.fits").id
            trace = tmp_path / f"trace-{task}"
            go = tmp_path / f"go-{task}"
            order = {"trace": str(trace), "stamps": True, "program": until(go)}
            run = made.process(task, ["trial", "trial"], order)
            traces[run] = trace
            assert wait_until(lambda at=task: made.clients[0].state(at).state == "trial")
            assert network.swallow("skyrelay outcomes") == 1
            go.touch()
            last = gateway.store.folder(task) / STAMPS / "0.second"
            assert wait_until(last.exists), made.logs()
            with gateway.database.reading() as session:
                found = session.get_one(Run, run)
            assert (found.state, found.position) == ("open", 0), "nobody has heard of it"
            stop(made, run)
            network.heal()
        assert (len(made.cancelled), len(made.deleted)) == (1, 1)
        found_wrong = verdict(made, gateway, traces, amqp_uri, unharmed=True)
    assert not found_wrong, "\n".join([*found_wrong, made.logs()])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_administrator_stops_everything(place: Installation, made: Fleet, amqp_uri: str) -> None:
    traces: dict[str, Path] = {}
    with opened(place.folder, place.environment["DATABASE_URL"]) as gateway:
        add_user(gateway, "root", is_staff=True)
        for number in range(5 * SLOTS):
            task = made.clients[0].create_task(original_name="a.fits").id
            trace = place.folder / f"trace-{number}"
            order = {"trace": str(trace), "stamps": True, "seconds": 600, "children": True}
            traces[made.process(task, ["trial", "trial"], order)] = trace
        busy = 2 * SLOTS
        assert wait_until(lambda: sum(t.exists() for t in traces.values()) == busy), made.logs()
        assert place.client(made.addresses[1], "root").terminate_all() == len(traces)
        made.cancelled |= traces.keys()
        found = verdict(made, gateway, traces, amqp_uri, unharmed=True)
    assert not found, "\n".join([*found, made.logs()])
    assert sum(trace.exists() for trace in traces.values()) == busy
