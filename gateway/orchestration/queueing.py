"""Which of the attempts that wait goes to its stage next?

The broker gets a window of each service's commands, enough to keep every replica busy; the others
wait in the database, where they can still be put in order: the higher priority first, and users
of the same priority in turns. So a follow-up overtakes a survey's backlog, and one user's
thousand images do not hold up another's single one.

The turns are those of start-time fair queueing (Goyal, Vin & Cheng 1996, SIGCOMM, section 2): an
attempt starts where the stage is now, or one turn after its user's last one, whichever is later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import IS_OUT, IS_WAITING, AttemptState, Run, StageAttempt, now
from skyrelay.broker.topology import in_lane
from skyrelay.messages import Lane, RunStage
from skyrelay.products import IMAGE
from skyrelay.stages import SERVICES, stage_of

_MIB = 1024 * 1024
#: Of a session: the windows that it has looked at, and how many attempts it has ended by queue.
_WINDOWS, _LEFT = "windows", "left"

_BEGIN = insert(StageAttempt)
_WAITS = (StageAttempt.queue == bindparam("queue"), IS_WAITING)
_ANYBODY = select(StageAttempt.run_id).where(*_WAITS).limit(1)
_FOLLOWING = (
    select(StageAttempt)
    .where(*_WAITS)
    .order_by(StageAttempt.rank, StageAttempt.turn)
    .with_for_update(skip_locked=True)
)
_LATEST_TURN = select(func.max(StageAttempt.turn)).where(
    *_WAITS, StageAttempt.user_id == bindparam("user")
)
_OUT = (
    select(StageAttempt.user_id, func.count(), func.max(StageAttempt.turn))
    .where(StageAttempt.queue == bindparam("queue"), IS_OUT)
    .group_by(StageAttempt.user_id)
)

#: All queues of commands, by the name that attempts have for them.
QUEUES = tuple(in_lane(service, lane) for service in SERVICES for lane in Lane)


def lane_of(gateway: Gateway, task_id: int) -> Lane:
    """The lane in which an image of this task's size travels."""
    least = gateway.settings.skyrelay_large_image
    if not least:
        return Lane.NORMAL
    try:
        size = gateway.store.length(task_id, IMAGE)
    except OSError:
        return Lane.NORMAL
    return Lane.LARGE if size >= least * _MIB else Lane.NORMAL


@dataclass
class _Window:
    """A service's queue, as one transaction has found it and adds to it.

    ``out``: commands that the broker or a replica has; ``turn``: the latest turn of those;
    ``last``: the latest turn of each user, among those that wait only if they are among ``known``.
    """

    out: int
    turn: int
    last: dict[int | None, int]
    known: set[int | None] = field(default_factory=set)

    def send(self, turn: int) -> None:
        """Give the broker one more."""
        self.out += 1
        self.turn = max(self.turn, turn)


def enqueue(gateway: Gateway, session: Session, run: Run, command: RunStage) -> None:
    """Begin an attempt: its command goes to the broker, now or when it is its turn."""
    queue = in_lane(stage_of(command.step).service, command.lane)
    window = _window(session, queue)
    size = gateway.settings.skyrelay_queue_window
    waits = bool(size) and _out(session, queue) >= size
    last = window.last.get(run.user_id, -1)
    if waits and run.user_id not in window.known:
        last = max(last, _last_waiting(session, queue, run.user_id))
        window.known.add(run.user_id)
    turn = max(window.turn, last + 1)
    window.last[run.user_id] = turn
    if not waits:
        window.send(turn)
    session.connection().execute(
        _BEGIN,
        {
            "run_id": run.id,
            "position": command.index,
            "part": command.part,
            "attempt": command.attempt,
            "step": command.step,
            "state": AttemptState.WAITING if waits else AttemptState.QUEUED,
            "command": command.to_json(),
            "queue": queue,
            "user_id": run.user_id,
            "rank": -run.priority,
            "turn": turn,
        },
    )
    if not waits:
        gateway.outbox.add(session, command)


def leave(session: Session, attempt: StageAttempt) -> None:
    """An attempt is over: there is room for another one in its queue."""
    left: Counter[str] = session.info.setdefault(_LEFT, Counter())
    left[attempt.queue] += 1


def flush(session: Session, queue: str) -> None:
    """Send the database what has changed; not before its queue was looked at.

    Attempts of this transaction that have left the queue are counted here, and not there.
    """
    _window(session, queue)
    session.flush()


def release(gateway: Gateway, session: Session, queues: Iterable[str]) -> None:
    """Send on those that wait for these queues, as many as there is room for now."""
    for queue in sorted(queues):
        # What this transaction itself has put there was put there because there is no room.
        with session.no_autoflush:
            anybody = session.scalar(_ANYBODY, {"queue": queue})
        if anybody is not None:
            _release(gateway, session, queue)


def _release(gateway: Gateway, session: Session, queue: str) -> None:
    window = _window(session, queue)
    following = _FOLLOWING
    if size := gateway.settings.skyrelay_queue_window:
        following = following.limit(max(0, size - _out(session, queue)))
    for attempt in session.scalars(following, {"queue": queue}).all():
        attempt.state = AttemptState.QUEUED
        attempt.heard = now()
        window.send(attempt.turn)
        gateway.outbox.add(session, attempt.run_stage)


def _out(session: Session, queue: str) -> int:
    """Commands that the broker or a replica has, with what this transaction has changed."""
    left: Counter[str] = session.info.get(_LEFT, Counter())
    return _window(session, queue).out - left[queue]


def _window(session: Session, queue: str) -> _Window:
    """The window of a queue: as it was at first, and with what was sent since."""
    windows: dict[str, _Window] = session.info.setdefault(_WINDOWS, {})
    if queue not in windows:
        with session.no_autoflush:
            found = session.execute(_OUT, {"queue": queue}).all()
        windows[queue] = _Window(
            out=sum(count for _, count, _ in found),
            turn=max((turn for _, _, turn in found), default=0),
            last={user: turn for user, _, turn in found},
        )
    return windows[queue]


def _last_waiting(session: Session, queue: str, user_id: int | None) -> int:
    """The latest turn of those of a user that wait; -1 if none does, or the user is gone."""
    turn = session.scalar(_LATEST_TURN, {"queue": queue, "user": user_id})
    return -1 if turn is None else turn
