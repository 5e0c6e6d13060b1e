"""How is one attempt of a stage carried out in a folder, whoever asked for it?

The warm workers of the services and the command line both come here; everything around it
(messages, claims, publication) is theirs.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyrelay.errors import Permanent, Retriable
from skyrelay.messages import Outcome
from skyrelay.products import outdated_by
from skyrelay.records import SkyField, Value
from skyrelay.settings import Settings
from skyrelay.stage.context import StageContext, StageLog
from skyrelay.stages import Stage
from skyrelay.store import files

_log = logging.getLogger(__name__)

DISK_FULL = "The disk with the tasks' files is full: make room on it and process the image again."


@dataclass(frozen=True)
class StageResult:
    """What came of an attempt; products are in its folder."""

    outcome: Outcome
    reasons: tuple[str, ...]
    config: dict[str, Any]
    field: SkyField | None
    values: dict[str, Value]


def execute(
    stage: Stage,
    folder: Path,
    config: dict[str, Any],
    settings: Settings,
    temporary: Path,
    on_progress: Callable[[float, str], None],
) -> StageResult:
    """Run the science of ``stage`` on the files in ``folder``.

    A permanent failure, and an error that nobody foresaw, become a failed result with a sentence
    in the stage's log. The configuration of a failed result is the one that was given.

    Raises
    ------
    Retriable
        If another try may help.
    """
    for name in outdated_by(stage.step):
        files.remove(folder / name)
    log = StageLog(folder / stage.log_name, timing=bool(config.get("timing")))
    context = StageContext(
        stage, folder, dict(config), settings, temporary, log, on_progress=on_progress
    )
    try:
        importlib.import_module(stage.science).run(context)
        _write_results(context)
    except Permanent as error:
        return _failed(log, config, str(error))
    except Retriable as error:
        log(f"Error! {error}")
        raise
    except MemoryError:
        return _failed(log, config, "The image needs more memory than this worker has.")
    except Exception as error:
        if is_disk_full(error):
            return _failed(log, config, DISK_FULL)
        _log.exception("the science of %s failed in a way nobody foresaw", stage.step)
        sentence = f"Internal error in {stage.title.lower()}: {type(error).__name__}: {error}"
        return _failed(log, config, sentence)
    finally:
        with suppress(OSError):
            log.close()
    outcome = Outcome.DEGRADED if context.degraded else Outcome.DONE
    return StageResult(
        outcome, tuple(context.degraded), context.config, context.field, context.values
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether there is no room for a file that was to be written."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


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
