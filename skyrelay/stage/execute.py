"""How is one attempt of a stage, or of a part of one, carried out in a folder?

The warm workers of the services and the command line both come here; everything around it
(messages, claims, publication) is theirs.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyrelay.errors import Permanent, Retriable, may_pass
from skyrelay.messages import Outcome
from skyrelay.parameters import PARAMETERS, unknown
from skyrelay.products import outdated_by
from skyrelay.records import AttemptRecord, SkyField, Value
from skyrelay.settings import Settings
from skyrelay.stage.context import Piece, StageContext, StageLog
from skyrelay.stages import Stage
from skyrelay.store import files
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)

DISK_FULL = "The disk with the tasks' files is full: make room on it and process the image again."


@dataclass(frozen=True)
class StageResult:
    """What came of an attempt; products are in its folder.

    ``parts``: into how many the stage was split; 0 if the result is whole.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    config: dict[str, Any]
    field: SkyField | None
    values: dict[str, Value]
    parts: int = 0


@dataclass(frozen=True)
class Workplace:
    """Where, and with what, an attempt is carried out; see `StageContext`."""

    stage: Stage
    folder: Path
    config: dict[str, Any]
    settings: Settings
    temporary: Path
    on_progress: Callable[[float, str], None] = lambda fraction, doing: None

    def open(self) -> StageContext:
        """What the science gets, with a new log."""
        timing = bool(self.config.get("timing"))
        return StageContext(
            self.stage,
            self.folder,
            dict(self.config),
            self.settings,
            self.temporary,
            StageLog(self.folder / self.stage.log_name, timing=timing),
            on_progress=self.on_progress,
        )


def execute(place: Workplace, *, may_split: bool = False) -> StageResult:
    """Run the science of a stage on the files in its folder.

    With ``may_split`` a stage that has much to do only prepares its parts; what it leaves in the
    folder is what they begin with.

    A permanent failure, and an error that nobody foresaw, become a failed result with a sentence
    in the stage's log. The configuration of a failed result is the one that was given.

    Raises
    ------
    Retriable
        If another try may help.
    """
    for name in outdated_by(place.stage.step):
        files.remove(place.folder / name)
    context = place.open()
    for name in place.config.keys() - PARAMETERS.keys():
        context.log(f"Warning: {name}: {unknown(name)}")

    def work(science: Any) -> int:
        parts: int = science.parts(context) if may_split and hasattr(science, "parts") else 0
        if parts > 1:
            context.shared.mkdir()
            science.prepare(context)
            return parts
        science.run(context)
        _write_results(context)
        return 0

    return _guarded(context, place.config, work)


def execute_part(place: Workplace, part: int) -> StageResult:
    """Do part ``part`` (from 1) of a stage that was split; see `execute`."""
    files.remove(place.folder / place.stage.log_name)
    context = place.open()

    def work(science: Any) -> int:
        science.run_part(context, part)
        return 0

    return _guarded(context, place.config, work)


def execute_join(place: Workplace, prepared: AttemptRecord, pieces: Sequence[Piece]) -> StageResult:
    """Put the pieces of a stage that was split together; see `execute`.

    The log and the values go on where the preparation has ended.
    """
    log = place.folder / place.stage.log_name
    begun = log.read_text(encoding="utf-8")
    files.remove(log)
    context = place.open()
    context.log.copy(begun)
    context.field, context.values = prepared.field, dict(prepared.values)
    context.degraded += prepared.reasons
    for piece in pieces:
        context.log.copy(piece.log_of(place.stage))

    def work(science: Any) -> int:
        science.join(context, pieces)
        files.remove(context.shared)
        _write_results(context)
        return 0

    return _guarded(context, place.config, work)


def _guarded(
    context: StageContext, config: dict[str, Any], work: Callable[[Any], int]
) -> StageResult:
    stage, log = context.stage, context.log
    try:
        parts = work(importlib.import_module(stage.science))
    except Retriable as error:
        log(f"Error! {error}")
        raise
    except MemoryError:
        return _failed(log, config, "The image needs more memory than this worker has.")
    except Exception as error:
        if is_full(error):
            return _failed(log, config, DISK_FULL)
        if may_pass(error):
            reason = f"The worker's machine, or its file system, has failed: {error}"
            with suppress(OSError):
                log(f"Error! {reason}")
            raise Retriable(reason) from error
        if isinstance(error, Permanent):
            return _failed(log, config, str(error))
        _log.exception("the science of %s failed in a way nobody foresaw", stage.step)
        sentence = f"Internal error in {stage.title.lower()}: {type(error).__name__}: {error}"
        return _failed(log, config, sentence)
    finally:
        with suppress(OSError):
            log.close()
    outcome = Outcome.DEGRADED if context.degraded else Outcome.DONE
    return StageResult(
        outcome, tuple(context.degraded), context.config, context.field, context.values, parts
    )


def _failed(log: StageLog, config: dict[str, Any], reason: str) -> StageResult:
    with suppress(OSError):
        log(f"Error! {reason}")
    return StageResult(Outcome.FAILED, (reason,), config, None, {})


def _write_results(context: StageContext) -> None:
    content = {
        "stage": context.stage.step,
        "degraded": context.degraded,
        "values": {
            # model_dump_json, other than model_dump, writes null for what is not finite.
            name: json.loads(value.model_dump_json())
            for name, value in context.values.items()
        },
    }
    path = context.path(context.stage.results_name)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
