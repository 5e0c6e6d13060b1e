"""Which of the attempts that wait goes to its stage next?

The broker gets a window of each service's commands, enough to keep every replica busy; the others
wait in the database, where they can still be put in order: the higher priority first, and users
of the same priority in turns. So a follow-up overtakes a survey's backlog, and one user's
thousand images do not hold up another's single one.

The turns are those of start-time fair queueing (Goyal, Vin & Cheng 1996, SIGCOMM, section 2): an
attempt starts where the stage is now, or one turn after its user's last one, whichever is later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import bindparam, func, select

from gateway.core import Gateway
from gateway.models import IS_OUT, IS_WAITING, AttemptState, Run, StageAttempt, now
from gateway.orchestration import statements
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.open_runs import OpenAttempt, OpenRun
from skyrelay.broker.topology import in_lane
from skyrelay.messages import Lane, RunStage
from skyrelay.products import IMAGE
from skyrelay.stages import SERVICES, stage_of

_MIB = 1024 * 1024
_WAITS = (StageAttempt.queue == bindparam("queue"), IS_WAITING)
_ANYBODY = select(StageAttempt.run_id).where(*_WAITS).limit(1)
_FOLLOWING = (
    select(
        StageAttempt.run_id,
        StageAttempt.index,
        StageAttempt.part,
        StageAttempt.attempt,
        StageAttempt.turn,
        StageAttempt.command,
    )
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


def _lane_of(gateway: Gateway, task_id: int) -> Lane:
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
    """A service's queue, as one transaction has found it and changes it.

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


class Queues:
    """The queues of commands, as one transaction finds and fills them.

    Each is looked at when it is first needed, after all that the transaction has changed until
    then was written; from then on it is kept in mind.
    """

    def __init__(self, gateway: Gateway, ledger: Ledger) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._size = gateway.settings.skyrelay_queue_window
        self._windows: dict[str, _Window] = {}

    def enqueue(self, run: Run | OpenRun, config_key: str, part: int = 0) -> None:
        """Begin the run's present stage, or a part of it.

        Its command goes to the broker, now or when it is its turn. ``config_key`` is the path of
        the configuration in the store.
        """
        command = RunStage(
            run=UUID(run.id),
            task=run.task_id,
            index=run.position,
            step=run.step,
            part=part,
            parts=run.parts,
            lane=_lane_of(self._gateway, run.task_id),
            config=config_key,
        )
        queue = in_lane(stage_of(command.step).service, command.lane)
        window = self._window(queue)
        waits = bool(self._size) and window.out >= self._size
        last = window.last.get(run.user_id, -1)
        if waits and run.user_id not in window.known:
            last = max(last, self._last_waiting(queue, run.user_id))
            window.known.add(run.user_id)
        turn = max(window.turn, last + 1)
        window.last[run.user_id] = turn
        self._ledger.begin(
            OpenAttempt(
                run_id=run.id,
                index=command.index,
                part=command.part,
                attempt=command.attempt,
                step=command.step,
                state=AttemptState.WAITING if waits else AttemptState.QUEUED,
                command=command.to_json(),
                queue=queue,
                user_id=run.user_id,
                rank=-run.priority,
                turn=turn,
            )
        )
        if not waits:
            window.send(turn)
            self._gateway.outbox.add(self._ledger.session, command)

    def leave(self, attempt: OpenAttempt) -> None:
        """An attempt is over: there is room for another one in its queue."""
        if window := self._windows.get(attempt.queue):
            window.out -= 1

    def release(self, queues: Iterable[str]) -> None:
        """Send on those that wait for these queues, as many as there is room for now."""
        for queue in sorted(queues):
            waiting = self._ledger.connection.execute(_ANYBODY, {"queue": queue})
            if waiting.first() is not None:
                self._release(queue)

    def _release(self, queue: str) -> None:
        window = self._window(queue)
        # Some of those that wait may have been given up in this transaction.
        self._ledger.write()
        following = _FOLLOWING
        if self._size:
            following = following.limit(max(0, self._size - window.out))
        connection = self._ledger.connection
        sent = []
        for *key, turn, command in connection.execute(following, {"queue": queue}).all():
            window.send(turn)
            self._gateway.outbox.add(self._ledger.session, RunStage.model_validate_json(command))
            sent.append(statements.values_of_sent(key, now()))
        if sent:
            connection.execute(statements.SEND_ON, sent)

    def _window(self, queue: str) -> _Window:
        if queue not in self._windows:
            self._ledger.write()
            found = self._ledger.connection.execute(_OUT, {"queue": queue}).all()
            self._windows[queue] = _Window(
                out=sum(count for _, count, _ in found),
                turn=max((turn for _, _, turn in found), default=0),
                last={user: turn for user, _, turn in found},
            )
        return self._windows[queue]

    def _last_waiting(self, queue: str, user_id: int | None) -> int:
        """The latest turn of those of a user that wait; -1 if none does, or the user is gone."""
        parameters = {"queue": queue, "user": user_id}
        turn: int | None = self._ledger.connection.execute(_LATEST_TURN, parameters).scalar()
        return -1 if turn is None else turn
