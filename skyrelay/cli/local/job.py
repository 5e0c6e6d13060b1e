"""How does one image go through its stages on this machine?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from skyrelay.cli.local.folder import WorkFolder
from skyrelay.errors import Permanent, Retriable
from skyrelay.messages import Outcome
from skyrelay.records import Value
from skyrelay.settings import Settings
from skyrelay.stage.carry_out import temporary_files_in
from skyrelay.stage.execute import StageResult, Workplace, execute
from skyrelay.stages import CLEANUP, stage_of

_SCRATCH = ".scratch"


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")


class Job(_Word):
    """What is to be done to one image.

    ``image`` is None where the image is made by the first step; ``added`` are files to be put into
    the folder, by their names there.
    """

    name: str
    folder: Path
    image: Path | None
    steps: tuple[str, ...]
    config: dict[str, Any]
    added: dict[str, Path] = {}


class Ready(_Word):
    """The worker takes jobs from now on."""

    kind: Literal["ready"] = "ready"
    guard: int


class Began(_Word):
    """A stage has begun; it is to be stopped after ``time_limit`` seconds."""

    kind: Literal["began"] = "began"
    step: str
    time_limit: float


class Progressed(_Word):
    """How far the stage is."""

    kind: Literal["progressed"] = "progressed"
    step: str
    fraction: float
    doing: str


class StepDone(_Word):
    """How a stage ended."""

    kind: Literal["step"] = "step"
    step: str
    outcome: Outcome
    reasons: tuple[str, ...]
    seconds: float
    values: dict[str, Value] = {}


class JobDone(_Word):
    """The job is over; ``reason``: why it could not even begin."""

    kind: Literal["job"] = "job"
    reason: str | None = None


Line = Annotated[Ready | Began | Progressed | StepDone | JobDone, Field(discriminator="kind")]
LINE: TypeAdapter[Line] = TypeAdapter(Line)


def run_job(job: Job, settings: Settings, tell: Callable[[Line], None]) -> None:
    """Take the image through its steps, as far as it goes."""
    folder = WorkFolder(job.folder)
    try:
        folder.prepare(job.image)
        for name, source in job.added.items():
            folder.add(name, source)
        # Who cleans up begins anew.
        known = {} if CLEANUP.step in job.steps else folder.read_config()
    except (Permanent, OSError) as error:
        tell(JobDone(reason=str(error)))
        return
    config = known | job.config
    for step in job.steps:
        result = _run_step(folder, step, config, settings, tell)
        if result.outcome is Outcome.FAILED:
            break
        config = result.config
        folder.write_config(config)
    tell(JobDone())


def _run_step(
    folder: WorkFolder,
    step: str,
    config: dict[str, Any],
    settings: Settings,
    tell: Callable[[Line], None],
) -> StageResult:
    stage = stage_of(step)
    limit = config.get("time_limit")
    begun = time.monotonic()
    tell(Began(step=step, time_limit=float(limit) if limit else stage.time_limit))

    def on_progress(fraction: float, doing: str) -> None:
        tell(Progressed(step=step, fraction=min(max(fraction, 0.0), 1.0), doing=doing))

    scratch = folder.path / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with temporary_files_in(scratch):
            result = _with_retries(
                lambda: execute(
                    Workplace(stage, folder.path, config, settings, scratch, on_progress)
                ),
                config,
                settings.skyrelay_retry_delays,
                on_progress,
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tell(
        StepDone(
            step=step,
            outcome=result.outcome,
            reasons=result.reasons,
            seconds=time.monotonic() - begun,
            values=result.values,
        )
    )
    return result


def _with_retries(
    work: Callable[[], StageResult],
    config: dict[str, Any],
    delays: Sequence[float],
    on_progress: Callable[[float, str], None],
) -> StageResult:
    for delay in delays:
        try:
            return work()
        except Retriable as error:
            on_progress(0.0, f"again in {delay:g} s: {error}")
            time.sleep(delay)
    try:
        return work()
    except Retriable as error:
        return StageResult(Outcome.FAILED, (str(error),), config, None, {})
