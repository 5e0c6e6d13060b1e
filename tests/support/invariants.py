"""Did an installation keep its promise, whatever was done to it?

*Every accepted run reaches exactly one terminal state, its products are those of exactly one
attempt, nothing runs after its end, nothing remains on disk or in the process table.*

Looked at are the database, the store, the traces that the trial stage leaves (see
`tests.trial_service.stage`), the process table and the broker's queues. What is found is a list
of sentences; an empty one is what a test wants.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from kombu import Connection
from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from gateway.core import Gateway
from gateway.models import AttemptState, AuditEntry, OutboxMessage, Run, RunState, Task, now
from gateway.orchestration import janitor
from skyrelay.broker import topology
from tests.support import servers
from tests.support.fleet import Fleet
from tests.support.processes import parent_of, processes_with, wait_until
from tests.trial_service import divided
from tests.trial_service.stage import RUN_VARIABLE, STAMPS, lock_of
from tests.trial_service.stages import DIVIDED, TRIAL

#: Seconds after the end of a run within which its science may still say that it begins: it was
#: claimed before, and its kill is on its way. A worker gives way to everybody else, so this may
#: take long; what nobody stops takes longer still, as SExtractor and the children of a trial.
BEGIN_SECONDS = 15.0

#: Seconds within which whatever a run has started must be dead: those, and the grace for those who
#: do not obey.
KILL_SECONDS = float(servers.TRIAL["skyrelay_kill_grace"]) + BEGIN_SECONDS

#: Seconds for which others may clear away the folders of runs, before the janitor does it.
_CLEARING = 2.0

#: Bound for what takes moments, as the end of a process that was killed.
_MOMENTS = 60.0

#: Later than any time that the janitor waits.
_LATER = timedelta(hours=1)

#: Looks, a second apart, that must find nothing: a publisher that the broker has kept waiting may
#: still say one thing that others have said meanwhile.
_STILL = 5

_STAGES = {stage.step: stage for stage in (TRIAL, DIVIDED)}

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


def of_the_database(gateway: Gateway, fleet: Fleet) -> Iterator[str]:
    """Every accepted run has come to one end, the one it was given, and was not forgotten."""
    with gateway.database.reading() as session:
        runs = list(session.scalars(select(Run)))
        tasks = {task.id: task for task in session.scalars(select(Task))}
        entries = list(session.scalars(select(AuditEntry)))
        waiting = list(session.scalars(select(OutboxMessage.body)))
    yield from (f"in the outbox: {body}" for body in waiting)
    known = {run.id: run for run in runs}
    for run_id in fleet.accepted:
        if (run_id in known) == (run_id in fleet.deleted):
            yield f"the run {run_id} was {'kept' if run_id in known else 'forgotten'}"
    for run_id in fleet.cancelled & known.keys():
        if known[run_id].state != RunState.CANCELLED:
            yield f"run {run_id} was cancelled, and is {known[run_id].state}"
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
        yield f"run {run.id} has no end: {run.state}, stage {run.position}"
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
            stage = _STAGES[last.step]
            expected = {
                RunState.DONE: stage.state_done,
                RunState.DEGRADED: stage.state_done,
                RunState.FAILED: stage.state_failed,
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
        for sentence in _of_the_joined(gateway.store.folder(task), its_runs[-1]):
            yield f"task {task}: {sentence}"


def _of_the_joined(folder: Path, run: Run) -> Iterator[str]:
    """A stage that was split has joined all its parts, or says that some are missing."""
    if DIVIDED.step not in run.steps or run.state not in (RunState.DONE, RunState.DEGRADED):
        return
    parts = max(a.part for a in run.attempts if a.step == DIVIDED.step) - 1
    path = folder / divided.PRODUCT
    joined = path.read_text().split() if path.exists() else []
    every = [str(part) for part in range(1, parts + 1)]
    if joined != (every if run.state == RunState.DONE else [n for n in every if n in joined]):
        yield f"the run {run.id} is {run.state} and has joined {joined} of {parts}"


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
        if attempt.state in _GOOD and attempt.step == TRIAL.step:
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
        if set(stamps) != {at for at, step in enumerate(last.steps) if step == TRIAL.step}:
            yield f"run {last.id} has products of the stages {sorted(stamps)}"


def of_the_traces(gateway: Gateway, fleet: Fleet, traces: Mapping[str, Path]) -> Iterator[str]:
    """No two workers of one run have lived at a time, and none after the end of its run."""
    with gateway.database.reading() as session:
        query = select(Run).options(selectinload(Run.attempts))
        runs = {run.id: run for run in session.scalars(query)}
    for run_id, trace in traces.items():
        lines = list(_lines(trace)) if trace.exists() else []
        found: Iterator[str] = iter(())
        if run_id in fleet.deleted:
            found = _after_a_stop(fleet.deleted[run_id], lines)
        elif run_id in runs:
            found = _of_trace(runs[run_id], lines)
        yield from (f"run {run_id}: {sentence}" for sentence in found)


def _lines(trace: Path) -> Iterator[_Line]:
    for line in trace.read_text().splitlines():
        word, pid, seconds, attempt = line.split()
        index, *_, number = attempt.split("-")
        time = datetime.fromtimestamp(float(seconds), UTC)
        yield _Line(word, int(pid), time, int(index), int(number))


def _of_trace(run: Run, lines: list[_Line]) -> Iterator[str]:
    ended = run.ended or now()
    if run.state == RunState.CANCELLED:
        yield from _after_a_stop(ended, lines)
    finished = {(a.index, a.attempt): a for a in run.attempts if a.state in _GOOD}
    for line in lines:
        if line.word == "beside":
            yield f"two of its workers lived at a time: {line}"
        if line.time > ended and run.state != RunState.CANCELLED:
            yield f"after its end at {ended}: {line}"
        attempt = finished.get((line.index, line.attempt))
        if attempt and attempt.finished and line.time > attempt.finished:
            yield f"after the attempt had finished at {attempt.finished}: {line}"
        if line.index > run.position:
            yield f"a stage that was never asked for: {line}"
    order = [(line.index, line.attempt) for line in lines if line.word == "begun"]
    if order != sorted(order):
        yield f"its attempts began in the order {order}"


def _after_a_stop(moment: datetime, lines: list[_Line]) -> Iterator[str]:
    """Who was told to stop begins nothing any more, and does not go on."""
    for line in lines:
        patience = BEGIN_SECONDS if line.word == "begun" else KILL_SECONDS
        if line.time > moment + timedelta(seconds=patience):
            yield f"after it was stopped at {moment}: {line}"


def of_the_disk(
    gateway: Gateway, *, unharmed: bool = False, seconds: float = _MOMENTS
) -> Iterator[str]:
    """Nothing of any run remains; what crashes have left, the janitor takes away, hours later.

    ``unharmed``: no process was killed, so that nothing but runs which were stopped in a queue
    may be left to the janitor.
    """
    root = gateway.store.root
    if unharmed:
        wait_until(lambda: not _left_to_the_janitor(gateway), seconds)
        yield from (f"left to the janitor: {path}" for path in _left_to_the_janitor(gateway))
    else:
        # Whoever is at it may end; with those who are gone it would be in vain to wait for longer.
        wait_until(lambda: not list(gateway.store.runs()), _CLEARING)
    with patch.object(janitor, "now", lambda: now() + _LATER):
        janitor.clean_up(gateway)
        janitor.drop_orphans(gateway)
    wait_until(lambda: not list((root / ".trash").iterdir()), seconds)
    left = _unused_versions(root)
    left += [path for path in (root / ".locks").iterdir() if not (root / path.name).is_symlink()]
    emptied = (".runs", ".trash", ".incoming", ".unsettled")
    left += [path for name in emptied for path in (root / name).iterdir()]
    left += [path for path in root.iterdir() if path.is_symlink() and not path.exists()]
    left += _folders_of_no_task(gateway)
    yield from (f"on disk: {path.relative_to(root)}" for path in left)


def _left_to_the_janitor(gateway: Gateway) -> list[Path]:
    """Versions that no task uses, what was uploaded, and folders of runs that came to their end."""
    root = gateway.store.root
    ids = [str(each.run) for each in gateway.store.runs()]
    closed = (RunState.DONE, RunState.DEGRADED, RunState.FAILED)
    with gateway.database.reading() as session:
        over = session.scalars(select(Run.id).where(Run.id.in_(ids), Run.state.in_(closed)))
        left = [root / ".runs" / run for run in over]
    uncertain = [path for name in (".incoming", ".unsettled") for path in (root / name).iterdir()]
    return [*left, *_unused_versions(root), *uncertain]


def _folders_of_no_task(gateway: Gateway) -> list[Path]:
    with gateway.database.reading() as session:
        tasks = {str(task) for task in session.scalars(select(Task.id))}
    folders = (path for path in gateway.store.root.iterdir() if path.name.isdecimal())
    return [path for path in folders if path.name not in tasks]


def _unused_versions(root: Path) -> list[Path]:
    linked = {path.resolve() for path in root.iterdir() if path.is_symlink()}
    return [path for path in (root / ".versions").iterdir() if path.resolve() not in linked]


def of_the_process_table(
    fleet: Fleet, traces: Mapping[str, Path], seconds: float = _MOMENTS
) -> Iterator[str]:
    """Whatever lives belongs to a process that is kept alive, and works on no run any more."""
    ours = set(traces)
    wait_until(lambda: not any(map(_is_worked_on, traces.values())), KILL_SECONDS)
    at_work = [run for run, trace in traces.items() if _is_worked_on(trace)]
    yield from (f"a worker still computes for run {run}" for run in at_work)

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


def _is_worked_on(trace: Path) -> bool:
    """Whether the science of this trace lives: for as long as it does, it holds a lock."""
    try:
        with lock_of(trace).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


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


def of_the_broker(amqp_uri: str, *, seconds: float = _MOMENTS) -> Iterator[str]:
    """No message is left.

    Asked after all consumers have ended: what they had not acknowledged is in its queue again.
    """
    delays = json.loads(servers.TRIAL["skyrelay_retry_delays"])
    queues = [*topology.queues(delays), topology.work_queue(TRIAL.service)]

    def left() -> dict[str, int]:
        with Connection(amqp_uri) as connection, connection.channel() as channel:
            counts = {
                queue.name: channel.queue_declare(queue.name, passive=True).message_count
                for queue in queues
            }
        return {name: count for name, count in counts.items() if count}

    wait_until(lambda: not left(), seconds)
    yield from (f"in the broker: {count} messages in {name}" for name, count in left().items())


def violations(
    fleet: Fleet, gateway: Gateway, traces: Mapping[str, Path], *, unharmed: bool = False
) -> list[str]:
    """All that is wrong with a whole installation whose runs have ended; its processes go on.

    ``unharmed``: see `of_the_disk`.
    """
    return [
        *of_the_database(gateway, fleet),
        *of_the_task_states(gateway),
        *of_the_products(gateway),
        *of_the_process_table(fleet, traces),
        *of_the_traces(gateway, fleet, traces),
        *of_the_disk(gateway, unharmed=unharmed),
    ]


def verdict(
    fleet: Fleet,
    gateway: Gateway,
    traces: Mapping[str, Path],
    amqp_uri: str,
    *,
    unharmed: bool = False,
    seconds: float = 120.0,
) -> list[str]:
    """All that is wrong with an installation when its runs have ended; then it ends, too.

    ``unharmed``: see `of_the_disk`; ``seconds``: how long its runs may take to end.
    """
    if not wait_for_the_end(gateway, seconds):
        return ["runs are still open, or messages not sent", *of_the_database(gateway, fleet)]
    found = violations(fleet, gateway, traces, unharmed=unharmed)
    # A command that was sent twice, or is about to be, may outlive its run; a replica answers or
    # drops it.
    wait_until(lambda: _is_still(gateway, amqp_uri))
    fleet.end()
    return [*found, *of_the_broker(amqp_uri)]


def _is_still(gateway: Gateway, amqp_uri: str) -> bool:
    """Whether nothing is to be sent or taken, and nothing comes for some seconds."""
    for _ in range(_STILL):
        with gateway.database.reading() as session:
            to_be_sent = session.scalar(select(func.count()).select_from(OutboxMessage))
        if to_be_sent or list(of_the_broker(amqp_uri, seconds=0)):
            return False
        time.sleep(1.0)
    return True
