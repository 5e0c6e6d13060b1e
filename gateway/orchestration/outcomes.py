"""How does a stage's outcome change its run and its task?

Everybody here holds the lock of the task's row.
"""

from __future__ import annotations

import logging
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import bindparam, func, select

from gateway.audit import remember
from gateway.core import Gateway
from gateway.models import AttemptState, Duty, RunState, StageAttempt
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.open_runs import OpenAttempt, OpenRun
from gateway.orchestration.queueing import Queues
from skyrelay import logs, task_states
from skyrelay.messages import Outcome, RunStage, StageFinished
from skyrelay.records import AttemptRecord
from skyrelay.stages import ARCHIVE, PHOTOMETRY, SIMPLE_TRANSIENTS, SUBTRACTION, stage_of
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)

_ATTEMPT_STATE = {
    Outcome.DONE: AttemptState.DONE,
    Outcome.DEGRADED: AttemptState.DEGRADED,
    Outcome.FAILED: AttemptState.FAILED,
    Outcome.CANCELLED: AttemptState.CANCELLED,
}

#: Steps that measure something on the sky.
_MEASURES = (PHOTOMETRY.step, SIMPLE_TRANSIENTS.step, SUBTRACTION.step)

_OF_PRESENT_STAGE = (
    StageAttempt.run_id == bindparam("run"),
    StageAttempt.index == bindparam("place"),
)
_OVER = select(func.count(StageAttempt.part.distinct())).where(
    *_OF_PRESENT_STAGE,
    StageAttempt.part.between(1, bindparam("parts")),
    StageAttempt.state.in_(_ATTEMPT_STATE.values()),
)
_FIRST_PART = (
    select(StageAttempt.command).where(*_OF_PRESENT_STAGE, StageAttempt.part == 1).limit(1)
)


class Outcomes:
    """What follows from the ends of attempts, in one transaction."""

    def __init__(self, gateway: Gateway, ledger: Ledger, queues: Queues) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._queues = queues
        #: Runs of which a worker may still be alive that has not been heard.
        self._unheard: list[OpenRun] = []

    def finish(self, run: OpenRun, attempt: OpenAttempt, event: StageFinished) -> None:
        """An attempt has ended: go on with what follows from its outcome."""
        attempt.state = _ATTEMPT_STATE[event.outcome]
        attempt.started = event.started
        attempt.finished = event.finished
        attempt.worker = event.worker
        attempt.reasons = list(event.reasons)
        self._ledger.change(attempt)
        if event.outcome is Outcome.CANCELLED:
            run.reasons = [*run.reasons, *event.reasons]
            self._ledger.give_up_attempts(run, AttemptState.CANCELLED)
            self._ledger.end(run, RunState.CANCELLED, task_states.CANCELLED)
        elif _is_part(run, attempt):
            attempt.fraction = 1.0
            self._join_if_complete(run)
        elif event.outcome is Outcome.FAILED:
            self._end_failed(run, event.reasons)
            if event.record is None:
                # Nothing in the store tells a second delivery of the command that it has failed.
                self._unheard.append(run)
        elif event.parts:
            self._split(run, attempt, event)
        else:
            self._succeeded(run, attempt, event)

    def give_up(self, run: OpenRun, attempt: OpenAttempt, reason: str) -> None:
        """An attempt's command is among the dead letters. A part is left out, a stage fails."""
        if not _is_part(run, attempt):
            self.fail(run, f"{stage_of(run.step).title} was given up: {reason}")
            return
        attempt.close(AttemptState.FAILED, [reason])
        self._ledger.change(attempt)
        self._join_if_complete(run)

    def fail(self, run: OpenRun, reason: str) -> None:
        """End the run as failed, for a reason that no attempt has reported; see `mark_as_over`."""
        self._end_failed(run, (reason,))
        self._unheard.append(run)

    def mark_as_over(self) -> None:
        """Let no worker of whom nothing was heard publish anything of the runs that have failed.

        The last thing before the commit: an open run with a mark is taken for one half cancelled.
        """
        store = self._gateway.store
        for run in self._unheard:
            try:
                store.cancel_run(run.task_id, UUID(run.id))
            except OSError as error:
                # A full disk takes no mark, and no products; the run must end all the same.
                if not is_full(error) and not store.answers():
                    raise
                with logs.about(task=run.task_id, run=run.id):
                    _log.exception("the run cannot be marked as over")

    def _split(self, run: OpenRun, attempt: OpenAttempt, event: StageFinished) -> None:
        """The stage is prepared: send out its parts, to whichever replicas are free."""
        assert event.record is not None
        attempt.fraction = 1.0
        run.parts = event.parts
        self._ledger.change(run)
        for part in range(1, run.parts + 1):
            self._queues.enqueue(run, event.record, part)

    def _join_if_complete(self, run: OpenRun) -> None:
        """When nothing more is to be heard of any part, have them put together."""
        self._ledger.write()
        place = {"run": run.id, "place": run.position}
        connection = self._ledger.connection
        if connection.execute(_OVER, {**place, "parts": run.parts}).scalar_one() == run.parts:
            command = connection.execute(_FIRST_PART, place).scalar_one()
            config = RunStage.model_validate_json(command).config
            self._queues.enqueue(run, config, run.parts + 1)

    def _succeeded(self, run: OpenRun, attempt: OpenAttempt, event: StageFinished) -> None:
        kept = _read_record(self._gateway, event)
        if kept is None or event.record is None:
            self.fail(run, f"The record of {event.step} is missing or damaged.")
            return
        attempt.fraction = 1.0
        content = kept.model_dump(mode="json", include={"values", "software", "products", "config"})
        attempt.values = content.pop("values")
        attempt.provenance = content
        run.reasons = [*run.reasons, *event.reasons]
        run.take_over(kept)
        if _is_searched(run.step):
            about = {"task_id": run.task_id, "run_id": run.id, "step": run.step}
            self._ledger.add_duty({"duty": Duty.INDEX, **about})
        done = stage_of(run.step).state_done
        if run.position + 1 < len(run.steps):
            run.advance(done)
            self._ledger.change(run)
            self._queues.enqueue(run, event.record)
        else:
            state = RunState.DEGRADED if run.reasons else RunState.DONE
            self._ledger.end(run, state, done)
            remember(
                self._ledger.session,
                "processing_complete",
                task_id=run.task_id,
                run=run.id,
                steps=run.steps,
            )

    def _end_failed(self, run: OpenRun, reasons: tuple[str, ...]) -> None:
        self._ledger.give_up_attempts(run, AttemptState.FAILED)
        # What was merely missing from earlier stages must not hide why it failed.
        run.reasons = list(reasons)
        self._ledger.end(run, RunState.FAILED, stage_of(run.step).state_failed)
        remember(
            self._ledger.session,
            "processing_failed",
            task_id=run.task_id,
            run=run.id,
            step=run.step,
            reasons=list(reasons),
        )


def _is_part(run: OpenRun, attempt: OpenAttempt) -> bool:
    return 0 < attempt.part <= run.parts


def _is_searched(step: str) -> bool:
    """Whether what the step has found out, or removed, is looked for across tasks."""
    return stage_of(step).locates or step in _MEASURES or step == ARCHIVE.step


def _read_record(gateway: Gateway, event: StageFinished) -> AttemptRecord | None:
    """The record of an attempt; None if there is none that can be read.

    Raises
    ------
    OSError
        If it may be readable later. A store that does not answer at all is waited for as long
        as it takes; one record that cannot be read, while others can, must not stop all runs.
    """
    if event.record is None:
        return None
    try:
        kept = gateway.store.read_record(event.record)
    except (FileNotFoundError, ValidationError):
        _log.exception("cannot read the record %s", event.record)
        kept = None
    except OSError:
        if not (gateway.store.answers() and gateway.patience.is_over(event.record)):
            raise
        _log.exception("giving up on the record %s", event.record)
        kept = None
    gateway.patience.forget(event.record)
    return kept
