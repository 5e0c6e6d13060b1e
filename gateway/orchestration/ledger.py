"""What does a transaction know of open runs, and how does it leave them?

Every stage of every run passes here, the rows of many runs by one statement: the unit of work of
the models would take several times as long as the database does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from gateway.followups import events
from gateway.models import LIVE, AttemptState, FollowUp, RunState, now
from gateway.orchestration import statements
from gateway.orchestration.open_runs import OpenAttempt, OpenRun
from skyrelay.messages import Event, Place

#: Of a session: the runs that its transaction has ended.
ENDED = "ended"

_FOLLOW_UP = insert(FollowUp)


class Ledger:
    """The open runs that a transaction is about; their tasks are locked by it.

    What is changed in them is kept here until `write`.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        #: For statements that belong to the transaction.
        self.connection = session.connection()
        self._runs: dict[str, OpenRun] = {}
        self._attempts: dict[tuple[str, int, int], OpenAttempt] = {}
        #: In the order of their changes.
        self._changed_runs: dict[str, OpenRun] = {}
        self._changed_attempts: dict[tuple[str, int, int, int], OpenAttempt] = {}

    def read(self, places: Collection[Place | Event]) -> None:
        """Get to know the runs and attempts at these places; their tasks are locked already."""
        runs = {str(place.run) for place in places}
        parts = {place.part for place in places}
        names: dict[str, str | int] = {f"run_{n}": run for n, run in enumerate(runs)}
        names |= {f"part_{n}": part for n, part in enumerate(parts)}
        for row in self.connection.execute(statements.latest(len(runs), len(parts)), names):
            run, attempt = statements.read(row)
            self._runs.setdefault(run.id, run)
            if attempt is not None:
                self._attempts[attempt.run_id, attempt.index, attempt.part] = attempt

    def read_run(self, run: str) -> OpenRun | None:
        """The run itself, if it is open; its task is locked already."""
        found = self.connection.execute(
            statements.latest(1, 1), {"run_0": run, "part_0": 0}
        ).first()
        return None if found is None else statements.read(found)[0]

    def run(self, place: Place | Event) -> OpenRun | None:
        """The run of this place, if it is still open."""
        run = self._runs.get(str(place.run))
        if run is None or run.task_id != place.task or run.state is not RunState.OPEN:
            return None
        return run

    def attempt(self, place: Place | Event) -> OpenAttempt | None:
        """The attempt that news are about; None if they are old.

        A later attempt than the one that we know takes its place: replicas decide about those.
        """
        key = (str(place.run), place.index, place.part)
        present = self._attempts.get(key)
        if present is None or present.state not in LIVE or place.attempt < present.attempt:
            return None
        if place.attempt > present.attempt:
            present = self._attempts[key] = self._following(present, place.attempt)
        return present

    def _following(self, present: OpenAttempt, number: int) -> OpenAttempt:
        """The later attempt that takes the place of one of which nothing is expected any more."""
        present.close(AttemptState.SUPERSEDED)
        self.change(present)
        following = OpenAttempt(
            run_id=present.run_id,
            index=present.index,
            part=present.part,
            attempt=number,
            step=present.step,
            state=AttemptState.QUEUED,
            command=present.run_stage.model_copy(update={"attempt": number}).to_json(),
            queue=present.queue,
            user_id=present.user_id,
            rank=present.rank,
            turn=present.turn,
        )
        self.begin(following)
        return following

    def begin(self, attempt: OpenAttempt) -> None:
        """Write a new attempt down."""
        self.connection.execute(statements.BEGIN_ATTEMPT, statements.values_of_new_attempt(attempt))

    def change(self, *changed: OpenRun | OpenAttempt) -> None:
        """These are not any more what they were."""
        for each in changed:
            if isinstance(each, OpenRun):
                self._changed_runs[each.id] = each
            else:
                self._changed_attempts[each.key] = each

    def end(self, run: OpenRun, state: RunState, task_state: str) -> None:
        """Close the run, and have others told."""
        run.end(state, task_state)
        self.change(run)
        if events.has_listeners(self.connection, run.owner_id):
            self.add_duty(events.run_ended(run))
        self.session.info.setdefault(ENDED, []).append(run)

    def add_duty(self, row: Mapping[str, Any]) -> None:
        """Have the process of the follow-ups do something, as a row of `FollowUp` says."""
        self.connection.execute(_FOLLOW_UP, row)

    def give_up_attempts(self, run: OpenRun, state: AttemptState) -> None:
        """Mark all attempts of the run from which nothing is expected any more."""
        # What has just ended has an end of its own.
        self.write()
        self.connection.execute(statements.GIVE_UP, {"run": run.id, "end": state, "moment": now()})
        for attempt in self._attempts.values():
            if attempt.run_id == run.id and attempt.state in LIVE:
                attempt.close(state)

    def write(self) -> None:
        """Send the database all that was changed since the last time."""
        runs, self._changed_runs = list(self._changed_runs.values()), {}
        attempts, self._changed_attempts = list(self._changed_attempts.values()), {}
        if runs:
            self.connection.execute(statements.WRITE_RUN, list(map(statements.values_of_run, runs)))
        for write, values in statements.writes_of_tasks(runs):
            self.connection.execute(write, values)
        if attempts:
            self.connection.execute(
                statements.WRITE_ATTEMPT, list(map(statements.values_of_attempt, attempts))
            )
