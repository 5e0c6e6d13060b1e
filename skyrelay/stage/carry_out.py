"""How does a command become a published attempt, whatever happens on the way?

Two ways lead here: a worker carries a command out, and a replica closes the attempt of a worker
that died. Both hold the attempt's claim while they decide, and both leave a record (or the mark
that the attempt is superseded) before anybody is told.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyrelay.errors import Retriable
from skyrelay.messages import Outcome, RunStage
from skyrelay.records import AttemptRecord
from skyrelay.settings import Settings
from skyrelay.stage import programs
from skyrelay.stage.answers import (
    Answer,
    Away,
    Busy,
    Ended,
    Over,
    Progressed,
    Started,
    TryAgain,
    Unknown,
)
from skyrelay.stage.context import Piece
from skyrelay.stage.execute import (
    DISK_FULL,
    StageResult,
    Workplace,
    execute,
    execute_join,
    execute_part,
)
from skyrelay.stage.provenance import products_in, software
from skyrelay.stages import Stage, stage_of
from skyrelay.store import (
    Attempt,
    AttemptBusy,
    ClaimLost,
    RunOver,
    RunUnknown,
    StoreMissing,
    TaskStore,
)
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)

UNKNOWN_RUN = (
    "The files of this run are not where the worker looks for them: do the gateway and all "
    "services have the same TASKS_PATH?"
)

CONFIG_LOST = (
    "The configuration of this run is missing or damaged, perhaps by a power failure: process the "
    "image again."
)

#: Why a part is missing whose message was given up.
LEFT_NOTHING = "Nothing was left of it: its worker died again and again"

#: What a record raises that JSON cannot hold: an object, a circle, half a character.
UNWRITABLE = (TypeError, ValueError, RecursionError)


def carry_out(
    command: RunStage,
    store: TaskStore,
    settings: Settings,
    tell: Callable[[Started | Progressed], None],
) -> Answer:
    """Claim the attempt, run its science, publish its products; how it ended."""
    attempt = store.attempt(command)
    return _with_claim(
        attempt, lambda first: _work(attempt, command, store, settings, tell, first=first)
    )


def close(
    command: RunStage, store: TaskStore, reason: str, *, started: datetime, may_retry: bool
) -> Answer:
    """End an attempt whose worker has died: superseded if it may be tried again, else failed.

    Where that cannot be recorded it has failed all the same: a message that went back to the
    queue would only be done again and again.
    """
    attempt = store.attempt(command)

    def verdict(_: bool) -> Answer:
        if may_retry:
            attempt.supersede(reason)
            return TryAgain(reason=reason)
        stage = stage_of(command.step)
        try:
            config = store.read_config(command.config)
        except StoreMissing:
            raise
        except (OSError, ValueError, KeyError):
            return _failed_without_record(reason)
        return _publish_failure(attempt, stage, reason, config, started)

    try:
        return _with_claim(attempt, verdict)
    except Exception:
        _log.exception("the end of an attempt could not be recorded")
        return _failed_without_record(reason)


def _with_claim(attempt: Attempt, work: Callable[[bool], Answer]) -> Answer:
    try:
        with attempt.claimed() as first:
            return (None if first else _ended_before(attempt)) or work(first)
    except AttemptBusy:
        return Busy()
    except ClaimLost:
        # How it ends others say: the command is looked at again when they may have done so.
        _log.warning("nothing of it is published: others have taken its place meanwhile")
        attempt.clear()
        return Busy()
    except RunUnknown:
        return Unknown(reason=UNKNOWN_RUN)
    except RunOver:
        attempt.clear()
        return Over()
    except StoreMissing as error:
        return Away(reason=str(error))
    except OSError as error:
        if is_full(error):
            attempt.clear()
            return _failed_without_record(DISK_FULL)
        # Its file system may have gone while the science was at work in it.
        if reason := attempt.why_away():
            return Away(reason=reason)
        raise


def _ended_before(attempt: Attempt) -> Answer | None:
    if record := attempt.recorded():
        return Ended.of(record, attempt.record_key)
    if (reason := attempt.superseded()) is not None:
        return TryAgain(reason=reason)
    return None


def _work(
    attempt: Attempt,
    command: RunStage,
    store: TaskStore,
    settings: Settings,
    tell: Callable[[Started | Progressed], None],
    *,
    first: bool,
) -> Answer:
    stage = stage_of(command.step)
    started = datetime.now(UTC)
    programs.forget()
    try:
        config = store.read_config(command.config)
    except (FileNotFoundError, ValueError, KeyError):
        _log.exception("the configuration %s cannot be read", command.config)
        return _failed_without_record(CONFIG_LOST)
    tell(Started(started=started, time_limit=_time_limit(stage, config)))
    scratch = attempt.open_scratch(first=first)

    def on_progress(fraction: float, doing: str) -> None:
        tell(Progressed(fraction=min(max(fraction, 0.0), 1.0), doing=doing))

    place = Workplace(stage, scratch, config, settings, attempt.temporary_folder, on_progress)
    try:
        with temporary_files_in(attempt.temporary_folder), attempt.shown(stage.log_name):
            if command.joins:
                prepared = store.read_record(command.config)
                result = execute_join(place, prepared, _pieces(attempt, command.parts))
            elif command.part:
                result = execute_part(place, command.part)
            else:
                result = execute(place, may_split=True)
    except Retriable as error:
        if command.attempt <= len(settings.skyrelay_retry_delays):
            attempt.supersede(str(error))
            return TryAgain(reason=str(error))
        result = StageResult(Outcome.FAILED, (str(error),), config, None, {})
    try:
        return _publish(attempt, stage, result, started)
    except UNWRITABLE as error:
        _log.exception("the results of %s cannot be recorded", stage.step)
        reason = (
            f"Internal error in {stage.title.lower()}: its results cannot be recorded: "
            f"{type(error).__name__}: {error}"
        )
    # The science may have changed what is inside the configuration that it was given.
    return _publish_failure(attempt, stage, reason, store.read_config(command.config), started)


def _pieces(attempt: Attempt, parts: int) -> list[Piece]:
    """What the parts of a stage have left; a part that left nothing has failed."""
    pieces = []
    for part in range(1, parts + 1):
        record = attempt.record_of_piece(part)
        outcome = record.outcome if record else Outcome.FAILED
        reasons = record.reasons if record else (LEFT_NOTHING,)
        pieces.append(Piece(part, attempt.piece(part), outcome, reasons))
    return pieces


def _publish_failure(
    attempt: Attempt, stage: Stage, reason: str, config: dict[str, Any], started: datetime
) -> Answer:
    attempt.log(stage.log_name, f"Error! {reason}")
    return _publish(
        attempt, stage, StageResult(Outcome.FAILED, (reason,), config, None, {}), started
    )


def _publish(attempt: Attempt, stage: Stage, result: StageResult, started: datetime) -> Answer:
    command = attempt.message
    failed = result.outcome is Outcome.FAILED
    is_piece = bool(result.parts) or 0 < command.part <= command.parts
    record = AttemptRecord(
        run=str(command.run),
        index=command.index,
        step=command.step,
        part=command.part,
        attempt=command.attempt,
        parts=result.parts,
        outcome=result.outcome,
        reasons=result.reasons,
        started=started,
        finished=datetime.now(UTC),
        config=result.config,
        field=result.field,
        values=result.values,
        software=_software(attempt),
        products={} if failed or is_piece else products_in(attempt.scratch),
    )
    if is_piece:
        attempt.publish_piece(record)
    else:
        attempt.publish(record, stage.log_name if failed else None)
    return Ended.of(record, attempt.record_key)


def _software(attempt: Attempt) -> dict[str, str]:
    """With what the attempt has worked, and those of the parts that it joins."""
    command = attempt.message
    found: dict[str, str] = {}
    if command.joins:
        for part in range(1, command.parts + 1):
            if record := attempt.record_of_piece(part):
                found |= record.software
    return found | software() | programs.versions()


def _failed_without_record(reason: str) -> Ended:
    now = datetime.now(UTC)
    return Ended(outcome=Outcome.FAILED, reasons=(reason,), started=now, finished=now, record=None)


def _time_limit(stage: Stage, config: dict[str, Any]) -> float:
    limit = config.get("time_limit")
    return float(limit) if limit else stage.time_limit


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Temporary files of the science, and of programs it starts, are made in ``folder``."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    environment_before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if environment_before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = environment_before
