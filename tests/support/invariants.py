"""Did an installation keep its promise, whatever was done to it?

*Every accepted run reaches exactly one terminal state, its products are those of exactly one
attempt, nothing runs after its end, nothing remains on disk or in the process table.*

Looked at are the database, the store, the traces that the trial stage leaves (see
`tests.trial_service.stage`), the process table and the broker's queues. What is found is a list
of sentences; an empty one is what a test wants.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from kombu import Connection
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from gateway.core import Gateway
from gateway.models import AttemptState, AuditEntry, OutboxMessage, Run, RunState, Task, now
from gateway.orchestration import janitor
from skyrelay.broker import topology
from tests.support.fleet import Fleet
from tests.support.processes import parent_of, processes_with, wait_until
from tests.trial_service.stage import RUN_VARIABLE, STAMPS
from tests.trial_service.stages import TRIAL

#: Seconds that a cancelled stage may go on: its kill is on its way. A bound for a kill that was
#: lost, not a measure.
KILL_SECONDS = 10.0

#: Later than any time that the janitor waits.
_LATER = timedelta(hours=1)

_GOOD = (AttemptState.DONE, AttemptState.DEGRADED)
_FINISHED = {
    "processing_complete": (RunState.DONE, RunState.DEGRADED),
    "processing_failed": (RunState.FAILED,),
}


@dataclass(frozen=True)
class _Line:
    """A line of a trace."""

    word: str
    pid: int
    time: datetime
    index: int
    attempt: int


@dataclass(frozen=True)
class _Stamp:
    """What is written in one half of a product: the try that wrote it."""

    run: str
    index: int
    attempt: int
    pid: int


def wait_for_the_end(gateway: Gateway, seconds: float) -> bool:
    """Whether no run is open any more, and no message waits in the outbox."""

    def quiet() -> bool:
        with gateway.database.reading() as session:
            is_open = session.scalar(select(Run.id).where(Run.state == RunState.OPEN).limit(1))
            waiting = session.scalar(select(OutboxMessage.id).limit(1))
        return is_open is None and waiting is None

    return wait_until(quiet, seconds)


def of_the_database(gateway: Gateway, accepted: Mapping[str, int]) -> Iterator[str]:
    """Every accepted run has come to one end, and was not forgotten."""
    with gateway.database.reading() as session:
        runs = list(session.scalars(select(Run)))
        tasks = {task.id: task for task in session.scalars(select(Task))}
        entries = list(session.scalars(select(AuditEntry)))
        waiting = list(session.scalars(select(OutboxMessage.body)))
    yield from (f"in the outbox: {body}" for body in waiting)
    known = {run.id: run for run in runs}
    for run_id, task_id in accepted.items():
        if run_id not in known and task_id in tasks:
            yield f"the accepted run {run_id} was forgotten"
    ends = Counter(e.details["run"] for e in entries if e.action in _FINISHED)
    for run in runs:
        yield from _of_run(run, tasks[run.task_id])
        closed = run.state in (RunState.DONE, RunState.DEGRADED, RunState.FAILED)
        if ends[run.id] != (1 if closed else 0):
            yield f"run {run.id} is {run.state} and has ended {ends[run.id]} times"
    for entry in entries:
        states = _FINISHED.get(entry.action, ())
        if states and (run := known.get(entry.details["run"])) and run.state not in states:
            yield f"run {run.id} is {run.state}, and had another end: {entry.action}"
    for task in tasks.values():
        if task.celery_id is not None:
            yield f"task {task.id} is still said to be running"


def _of_run(run: Run, task: Task) -> Iterator[str]:
    if run.state == RunState.OPEN or run.ended is None:
        yield f"run {run.id} has no end: {run.state}, stage {run.position}, attempt {run.attempt}"
    if run.state == RunState.FAILED and not run.reasons:
        yield f"run {run.id} has failed for no reason"
    if run.state in (RunState.DONE, RunState.DEGRADED) and run.position != len(run.steps) - 1:
        yield f"run {run.id} is {run.state} after {run.position + 1} of its stages"


def of_the_task_states(gateway: Gateway) -> Iterator[str]:
    """A task says what became of its last run."""
    with gateway.database.reading() as session:
        for task in session.scalars(select(Task)):
            last = session.scalar(
                select(Run).where(Run.task_id == task.id).order_by(Run.created.desc()).limit(1)
            )
            if last is None:
                continue
            expected = {
                RunState.DONE: TRIAL.state_done,
                RunState.DEGRADED: TRIAL.state_done,
                RunState.FAILED: TRIAL.state_failed,
                RunState.CANCELLED: "cancelled",
            }.get(RunState(last.state))
            if expected != task.state:
                yield f"task {task.id} is {task.state} after a run that is {last.state}"


def of_the_products(gateway: Gateway) -> Iterator[str]:
    """What is in a task's folder is of one run, and of one attempt for each of its stages."""
    with gateway.database.reading() as session:
        runs = list(session.scalars(select(Run).options(selectinload(Run.attempts))))
    of_task: dict[int, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.created):
        of_task[run.task_id].append(run)
    for task, its_runs in of_task.items():
        stamps = _stamps(gateway.store.folder(task) / STAMPS)
        for sentence in _of_stamps(stamps, its_runs):
            yield f"task {task}: {sentence}"


def _stamps(folder: Path) -> dict[int, dict[str, _Stamp]]:
    """Stage -> half -> stamp."""
    found: dict[int, dict[str, _Stamp]] = defaultdict(dict)
    for path in folder.iterdir() if folder.is_dir() else ():
        run, attempt, pid = path.read_text().split()
        index, *_, number = attempt.split("-")
        stamp = _Stamp(run, int(index), int(number), int(pid))
        found[int(path.name.partition(".")[0])][path.suffix] = stamp
    return found


def _of_stamps(stamps: dict[int, dict[str, _Stamp]], runs: list[Run]) -> Iterator[str]:
    last = runs[-1]
    owners = {stamp.run for halves in stamps.values() for stamp in halves.values()}
    if len(owners) > 1:
        yield f"products of the runs {owners}"
        return
    run = next((run for run in runs if run.id in owners), None)
    if owners and run is None:
        yield f"products of the unknown run {owners}"
        return
    good: dict[int, list[int]] = defaultdict(list)
    for attempt in run.attempts if run else ():
        if attempt.state in _GOOD:
            good[attempt.index].append(attempt.attempt)
    for index, numbers in good.items():
        if len(numbers) > 1:
            yield f"stage {index} has ended well {len(numbers)} times"
        if index not in stamps:
            yield f"stage {index} has ended well and left no product"
    for index, halves in stamps.items():
        assert run is not None
        if len(set(halves.values())) != 1 or len(halves) != 2:
            yield f"stage {index} has halves of different tries: {halves}"
        number = halves[min(halves)].attempt
        # Published in the moment of the cancel: whole, and nobody has heard of it.
        unheard = run.state == RunState.CANCELLED and index == run.position
        if number not in good[index] and not unheard:
            yield f"stage {index} has products of attempt {number}, good are {good[index]}"
    if last.state in (RunState.DONE, RunState.DEGRADED):
        if run is not last:
            yield f"run {last.id} is {last.state}, and the products are of {owners or 'none'}"
        if set(stamps) != set(range(len(last.steps))):
            yield f"run {last.id} has products of the stages {sorted(stamps)}"


def of_the_traces(gateway: Gateway, traces: Mapping[str, Path]) -> Iterator[str]:
    """No two workers of one run have lived at a time, and none after the end of its run."""
    with gateway.database.reading() as session:
        runs = list(session.scalars(select(Run).options(selectinload(Run.attempts))))
    for run in runs:
        if run.id in traces and traces[run.id].exists():
            for sentence in _of_trace(run, list(_lines(traces[run.id]))):
                yield f"run {run.id}: {sentence}"


def _lines(trace: Path) -> Iterator[_Line]:
    for line in trace.read_text().splitlines():
        word, pid, seconds, attempt = line.split()
        index, *_, number = attempt.split("-")
        time = datetime.fromtimestamp(float(seconds), UTC)
        yield _Line(word, int(pid), time, int(index), int(number))


def _of_trace(run: Run, lines: list[_Line]) -> Iterator[str]:
    cancelled = run.state == RunState.CANCELLED
    last_moment = (run.ended or now()) + timedelta(seconds=KILL_SECONDS if cancelled else 0)
    finished = {(a.index, a.attempt): a for a in run.attempts if a.state in _GOOD}
    for line in lines:
        if line.word == "beside":
            yield f"two of its workers lived at a time: {line}"
        if line.time > last_moment:
            yield f"after its end at {run.ended}: {line}"
        attempt = finished.get((line.index, line.attempt))
        if attempt and attempt.finished and line.time > attempt.finished:
            yield f"after the attempt had finished at {attempt.finished}: {line}"
        if line.index > run.position:
            yield f"a stage that was never asked for: {line}"
    order = [(line.index, line.attempt) for line in lines if line.word == "begun"]
    if order != sorted(order):
        yield f"its attempts began in the order {order}"


def of_the_disk(gateway: Gateway, seconds: float = 10.0) -> Iterator[str]:
    """Nothing of any run remains; what crashes have left, the janitor takes away, hours later."""
    root = gateway.store.root
    wait_until(lambda: not list(gateway.store.runs()), seconds)
    with patch.object(janitor, "now", lambda: now() + _LATER):
        janitor.clean_up(gateway)
        janitor.drop_orphans(gateway)
    wait_until(lambda: not list((root / ".trash").iterdir()), seconds)
    linked = {path.resolve() for path in root.iterdir() if path.is_symlink()}
    left = [path for path in (root / ".versions").iterdir() if path.resolve() not in linked]
    left += [path for name in (".runs", ".trash", ".incoming") for path in (root / name).iterdir()]
    left += [path for path in root.iterdir() if path.is_symlink() and not path.exists()]
    yield from (f"on disk: {path.relative_to(root)}" for path in left)


def of_the_process_table(fleet: Fleet, runs: Iterable[str], seconds: float = 10.0) -> Iterator[str]:
    """Whatever lives belongs to a process that is kept alive, and works on no run any more."""
    ours = set(runs)

    def strays() -> dict[int, str]:
        kept = {process.pid for process in fleet.processes}
        found = processes_with(fleet.mark)
        return {
            pid: command
            for pid, command in found.items()
            if not _descends(pid, kept) or _run_of(pid) in ours
        }

    # A moment ago something may have been killed, or started.
    wait_until(lambda: not strays(), seconds)
    yield from (f"in the process table: {pid} {command}" for pid, command in strays().items())


def _descends(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        if pid in ancestors:
            return True
        pid = parent_of(pid)
    return False


def _run_of(pid: int) -> str:
    """The run whose science has started a process; the empty text if none has."""
    try:
        environment = Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = f"{RUN_VARIABLE}=".encode()
    return next(
        (each[len(prefix) :].decode() for each in environment if each.startswith(prefix)), ""
    )


def of_the_broker(amqp_uri: str, *, seconds: float = 10.0) -> Iterator[str]:
    """No message is left.

    Asked after all consumers have ended: what they had not acknowledged is in its queue again.
    """
    queues = [*topology.queues(()), topology.work_queue(TRIAL.service)]

    def left() -> dict[str, int]:
        with Connection(amqp_uri) as connection, connection.channel() as channel:
            counts = {
                queue.name: channel.queue_declare(queue.name, passive=True).message_count
                for queue in queues
            }
        return {name: count for name, count in counts.items() if count}

    wait_until(lambda: not left(), seconds)
    yield from (f"in the broker: {count} messages in {name}" for name, count in left().items())


def violations(fleet: Fleet, gateway: Gateway, traces: Mapping[str, Path]) -> list[str]:
    """All that is wrong with a whole installation whose runs have ended; its processes go on."""
    return [
        *of_the_database(gateway, fleet.accepted),
        *of_the_task_states(gateway),
        *of_the_products(gateway),
        *of_the_traces(gateway, traces),
        *of_the_process_table(fleet, traces),
        *of_the_disk(gateway),
    ]
