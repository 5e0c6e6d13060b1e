"""How does a replica get a command done, whatever happens to the worker, the run or the broker?

The replica itself never computes: it gives the command to a worker, passes on what the worker
says, and ends the worker's group when the run is killed, the time is up, or the replica has to
go. The message is acknowledged when its outcome is safely with the broker, and not before.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import eventlet
from eventlet import tpool
from eventlet.event import Event
from nameko.extensions import DependencyProvider

from skyrelay import logs
from skyrelay.messages import (
    Outcome,
    RunStage,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from skyrelay.settings import Settings
from skyrelay.stage import carry_out, observation
from skyrelay.stage.answers import (
    Answer,
    Away,
    Broken,
    Busy,
    Ended,
    Noted,
    Over,
    Progressed,
    Started,
    TryAgain,
    Unknown,
    attempt_of,
)
from skyrelay.stage.kill_listener import KillListener
from skyrelay.stage.pool import WorkerPool
from skyrelay.stage.process import WorkerGone, WorkerProcess
from skyrelay.stage.sender import Sender
from skyrelay.store import open_store

_log = logging.getLogger(__name__)

#: Seconds between looks at whether the run is over or the time is up; a kill comes by broadcast.
TICK = 1.0

#: Seconds between two signs of life for the gateway, at the most.
SIGN = 30.0

#: Attempts whose workers may die, whatever the retry delays are: each may take a machine with it.
DEADLY_ATTEMPTS = 3

#: Seconds after which the gateway is told that an attempt has begun. One that ends sooner has its
#: beginning in its outcome: a second message, and a second transaction, for nothing.
ANNOUNCEMENT = 0.05

#: Seconds that outcomes may take to be confirmed after the replica's grace is over.
LAST_CALL = 5.0


class Why(StrEnum):
    """Why an attempt is stopped from outside."""

    KILLED = "killed"
    TIME_IS_UP = "time is up"
    HANDED_BACK = "handed back"


class NotSettled(Exception):
    """The attempt could not be brought to an end here; its message goes back to the queue."""


@dataclass
class _Job:
    """One command in hand."""

    command: RunStage
    received: float = field(default_factory=time.monotonic)
    worker: WorkerProcess | None = None
    started: datetime | None = None
    time_limit: float = 0.0
    began: float | None = None
    announced: bool = False
    deadline: float | None = None
    stopped: Why | None = None
    settled: Event = field(default_factory=Event)
    fraction: float = 0.0
    doing: str = ""
    last_sign: float = field(default_factory=time.monotonic)
    #: When it was looked whether the run is over; its worker has just done so, with the claim.
    looked: float = field(default_factory=time.monotonic)


class StageRunner(DependencyProvider):
    """Injected into a stage service; `run` brings one command to its end."""

    pool = WorkerPool()
    sender = Sender()
    kills = KillListener()

    def __init__(self) -> None:
        self._jobs: dict[tuple[UUID, int, int, int], _Job] = {}

    def setup(self) -> None:
        self._settings: Settings = self.container.config["SETTINGS"]
        self._store = open_store(self._settings)
        self._name = f"{self.container.service_name}@{socket.gethostname()}:{os.getpid()}"
        self.kills.on_kill(self._kill_run)

    def get_dependency(self, worker_ctx: Any) -> StageRunner:
        """The runner itself; it is one for all."""
        return self

    @property
    def in_hand(self) -> int:
        """Number of commands that are not settled."""
        return len(self._jobs)

    def run(self, command: RunStage) -> None:
        """Bring the command to its end; afterwards its message may be acknowledged.

        Raises
        ------
        NotSettled, NotSent
            If the message has to go back to the queue.
        """
        key = attempt_of(command)
        if known := self._jobs.get(key):
            # Delivered again, after the connection was lost, while we still work on it.
            if not known.settled.wait():
                raise NotSettled
            return
        job = self._jobs[key] = _Job(command)
        settled = False
        try:
            with logs.about(command):
                self._settle(job, self._work(job))
            settled = True
        finally:
            del self._jobs[key]
            job.settled.send(settled)

    def hand_back(self) -> None:
        """Stop everything in hand, because the replica has to go; others will do it again."""
        for job in list(self._jobs.values()):
            self._stop(job, Why.HANDED_BACK)
        eventlet.spawn_after(LAST_CALL, self.sender.abandon)

    def _kill_run(self, run: UUID, reason: str) -> None:
        for job in list(self._jobs.values()):
            if job.command.run == run:
                self._stop(job, Why.KILLED)

    def _stop(self, job: _Job, why: Why) -> None:
        """Have the job's worker ended, in a thread of its own; once."""
        if job.stopped is not None:
            return
        job.stopped = why
        if job.worker is not None:
            # From now on nobody else gets it, even if its answer comes first.
            job.worker.ending = True
            eventlet.spawn(self._end, job.command, job.worker, why)

    def _end(self, command: RunStage, worker: WorkerProcess, why: Why) -> None:
        begun = time.monotonic()
        worker.end(self._settings.skyrelay_kill_grace)
        taken = time.monotonic() - begun
        observation.stopped(why.value, taken)
        with logs.about(command):
            milliseconds = round(1000 * taken, 1)
            _log.info("group ended", extra={"why": why.value, "milliseconds": milliseconds})

    # From command to answer

    def _work(self, job: _Job) -> Answer | None:
        """The answer of a worker, or what takes its place; None: others are asked already."""
        worker = self._hand_over(job)
        if worker is None:
            assert job.stopped is not None
            return self._after_stop(job, job.stopped)
        answered = False
        try:
            answer = self._converse(job, worker)
            answered = True
            return answer
        except WorkerGone as error:
            # The stop, if it was one, goes on beside us until nothing of the group is left.
            worker.end(0 if job.stopped is None else self._settings.skyrelay_kill_grace)
            if job.stopped is None:
                return self._after_crash(job, str(error))
            return self._after_stop(job, job.stopped)
        finally:
            job.worker = None
            if not answered:
                # It may still compute, and its answer would be taken for one to the next command.
                worker.end(0)
            self.pool.release(worker)

    def _hand_over(self, job: _Job) -> WorkerProcess | None:
        """The worker that has taken the command; None if it was stopped before."""
        while True:
            worker = self.pool.acquire()
            if job.stopped is not None:
                self.pool.release(worker)
                return None
            try:
                job.worker = worker
                worker.send(job.command)
                return worker
            except WorkerGone:
                _log.warning("a worker had died before it got work", extra={"pid": worker.pid})
                job.worker = None
                worker.end(0)
                self.pool.release(worker)

    def _converse(self, job: _Job, worker: WorkerProcess) -> Answer:
        heard = time.monotonic()
        while True:
            line = worker.receive(TICK if job.announced else ANNOUNCEMENT)
            if line is not None:
                heard = time.monotonic()
                if not line.is_about(job.command):
                    raise WorkerGone("it spoke about another attempt")
            if isinstance(line, Ended | TryAgain | Busy | Away | Over | Unknown):
                return line
            if isinstance(line, Broken):
                raise WorkerGone(line.reason)
            if isinstance(line, Started):
                self._begin(job, line)
            elif isinstance(line, Progressed):
                job.fraction, job.doing = line.fraction, line.doing
                if job.announced:
                    self._give_sign(job)
            elif isinstance(line, Noted):
                observation.noted(job.command, line.episode)
            self._look_at(job, heard)

    def _look_at(self, job: _Job, heard: float) -> None:
        """Stop a job that must not go on, and say of the others that they do."""
        now = time.monotonic()
        silence = self._settings.skyrelay_silence
        if job.began is not None and not job.announced and now - job.began > ANNOUNCEMENT:
            self._announce(job)
        if job.deadline is not None and now > job.deadline:
            self._stop(job, Why.TIME_IS_UP)
        elif now - heard > silence:
            raise WorkerGone(f"it gave no sign of life for {silence:g} s")
        elif now - job.last_sign > min(SIGN, silence / 4):
            self._give_sign(job)
        if now - job.looked > TICK:
            job.looked = now
            if self._store.attempt(job.command).run_is_over():
                self._stop(job, Why.KILLED)

    def _give_sign(self, job: _Job) -> None:
        """Say how far the job is; the gateway takes it for a sign of life, too."""
        job.last_sign = time.monotonic()
        self.sender.mention(
            StageProgressed(**self._about(job.command), fraction=job.fraction, doing=job.doing)
        )

    def _begin(self, job: _Job, line: Started) -> None:
        job.started = line.started
        job.began = time.monotonic()
        job.time_limit = line.time_limit
        job.deadline = job.began + line.time_limit

    def _announce(self, job: _Job) -> None:
        assert job.started is not None and job.began is not None
        job.announced = True
        _log.info("started", extra={"milliseconds": round(1000 * (job.began - job.received), 1)})
        self.sender.mention(StageStarted(**self._about(job.command), started=job.started))
        if job.doing:
            self._give_sign(job)

    def _after_stop(self, job: _Job, why: Why) -> Answer | None:
        if why is Why.TIME_IS_UP:
            reason = f"It took longer than {job.time_limit:g} s and was stopped."
            return self._close(job, reason, may_retry=False)
        tpool.execute(logs.carried(self._store.attempt(job.command).clear))
        if why is Why.KILLED:
            return Over()
        # A new message instead of a rejected one: the delivery limit is for deadly messages.
        self.sender.send(job.command)
        return None

    def _after_crash(self, job: _Job, how: str) -> Answer:
        attempt = job.command.attempt
        tries = min(DEADLY_ATTEMPTS, len(self._settings.skyrelay_retry_delays) + 1)
        _log.error("the worker died", extra={"how": how})
        observation.crashed(job.command)
        if attempt < tries:
            return self._close(job, f"The worker died ({how}).", may_retry=True)
        times = "once" if attempt == 1 else f"{attempt} times"
        reason = f"The worker died {times} while working on this image; the last time: {how}."
        return self._close(job, reason, may_retry=False)

    def _close(self, job: _Job, reason: str, *, may_retry: bool) -> Answer:
        started = job.started or datetime.now(UTC)
        close = logs.carried(carry_out.close)
        answer: Answer = tpool.execute(
            close, job.command, self._store, reason, started=started, may_retry=may_retry
        )
        return answer

    # From answer to outcome

    def _settle(self, job: _Job, answer: Answer | None) -> None:
        """Tell the gateway, or whoever tries next; returns when the broker has the message."""
        command = job.command
        delays = self._settings.skyrelay_retry_delays
        if isinstance(answer, Ended):
            self._finish(job, answer)
        elif isinstance(answer, TryAgain):
            if job.started is not None and not job.announced:
                # No outcome will tell the gateway of this attempt.
                self._announce(job)
            observation.retried(command, job.started, answer.reason)
            delay = delays[min(command.attempt, len(delays)) - 1]
            _log.warning("to be tried again", extra={"reason": answer.reason, "in": delay})
            following = command.model_copy(
                update={"attempt": command.attempt + 1, "sent": datetime.now(UTC)}
            )
            self.sender.send_later(following, delay)
        elif isinstance(answer, Busy):
            _log.info("somebody else works on it", extra={"in": delays[0]})
            self.sender.send_later(command, delays[0])
        elif isinstance(answer, Away):
            self._leave_to_others(job, answer.reason, delays[0])
        elif answer is None:
            _log.info("handed back")
        elif isinstance(answer, Unknown):
            # No failure of ours: for the gateway it is old news, or its user's to know.
            _log.info("dropped: nothing of its run is in the store")
            self._tell(job, _ended(job, Outcome.FAILED, answer.reason))
        elif job.started is not None or job.stopped is not None:
            self._finish(job, _ended(job, Outcome.CANCELLED))
        else:
            _log.info("dropped: its run is over")

    def _leave_to_others(self, job: _Job, reason: str, delay: float) -> None:
        """Give the command back, for whoever has the store: no attempt is spent on its absence.

        Not at once: a replica without the store would take all commands, again and again.
        """
        _log.warning("the store is away", extra={"reason": reason, "in": delay})
        job.doing = "waits for the folder of the tasks"
        self._give_sign(job)
        end = time.monotonic() + delay
        while job.stopped is None and time.monotonic() < end:
            eventlet.sleep(min(delay, TICK))
        self.sender.send(job.command)

    def _finish(self, job: _Job, ended: Ended) -> None:
        seconds = round(time.monotonic() - job.received, 3)
        _log.info("finished", extra={"outcome": ended.outcome.value, "seconds": seconds})
        observation.finished(job.command, ended)
        self._tell(job, ended)

    def _tell(self, job: _Job, ended: Ended) -> None:
        event = StageFinished(
            **self._about(job.command),
            outcome=ended.outcome,
            parts=ended.parts,
            reasons=ended.reasons,
            started=ended.started,
            finished=ended.finished,
            record=ended.record,
        )
        self.sender.send(event)

    def _about(self, command: RunStage) -> dict[str, Any]:
        return {
            "run": command.run,
            "task": command.task,
            "index": command.index,
            "step": command.step,
            "part": command.part,
            "attempt": command.attempt,
            "worker": self._name,
        }


def _ended(job: _Job, outcome: Outcome, *reasons: str) -> Ended:
    """The end, now, of a job of which the store has no record."""
    now = datetime.now(UTC)
    return Ended(
        outcome=outcome,
        reasons=reasons,
        started=job.started or now,
        finished=now,
        record=None,
    )
