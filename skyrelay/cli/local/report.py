"""What does a person, or a script, see of the work?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from skyrelay.cli.local.job import Began, Job, JobDone, Line, Progressed, StepDone
from skyrelay.messages import Outcome
from skyrelay.stages import stage_of

_COLOURS = {"done": "green", "degraded": "yellow", "failed": "red", "cancelled": "red"}


@dataclass
class JobReport:
    """What came of one image."""

    job: Job
    steps: list[StepDone] = field(default_factory=list)
    reason: str | None = None
    over: bool = False

    @property
    def outcome(self) -> Outcome:
        """The worst of what happened to it; one that was not brought to its end was cancelled."""
        outcomes = [step.outcome for step in self.steps]
        if self.reason is not None or Outcome.FAILED in outcomes:
            return Outcome.FAILED
        if not self.over:
            return Outcome.CANCELLED
        return Outcome.DEGRADED if Outcome.DEGRADED in outcomes else Outcome.DONE

    @property
    def reasons(self) -> list[str]:
        """What is wrong or missing, in sentences."""
        said = [reason for step in self.steps for reason in step.reasons]
        return said if self.reason is None else [*said, self.reason]

    def hear(self, line: Line) -> None:
        """Take note of what was said about the image."""
        if isinstance(line, StepDone):
            self.steps.append(line)
        elif isinstance(line, JobDone):
            self.reason, self.over = line.reason, True

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "image": self.job.name,
            "folder": str(self.job.folder),
            "outcome": self.outcome.value,
            "reasons": self.reasons,
            "steps": [step.model_dump(mode="json", exclude={"kind"}) for step in self.steps],
        }


class Display:
    """Progress while the work goes on: bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, images: int, *, logs: bool) -> None:
        self._console = console
        self._logs = logs
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[doing]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._whole = self._progress.add_task("images", total=images, doing="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: Job, line: Line) -> None:
        """Show what was said about an image."""
        if isinstance(line, Began):
            self._bar(job, stage_of(line.step).title, 0.0, "")
        elif isinstance(line, Progressed):
            self._bar(job, stage_of(line.step).title, line.fraction, line.doing)
        elif isinstance(line, StepDone):
            self._step(job, line)
        elif isinstance(line, JobDone):
            if line.reason is not None:
                self._say(f"{job.name}: {line.reason}")
            if bar := self._bars.pop(str(job.folder), None):
                self._progress.remove_task(bar)
            self._progress.advance(self._whole)

    def _step(self, job: Job, line: StepDone) -> None:
        stage = stage_of(line.step)
        self._say(f"{job.name}: {stage.title} {line.outcome.value} ({line.seconds:.1f} s)")
        for reason in line.reasons:
            self._say(f"{job.name}: {reason}")
        path = job.folder / stage.log_name
        if self._logs and path.exists():
            self._say(path.read_text(encoding="utf-8", errors="replace").rstrip())

    def _bar(self, job: Job, title: str, fraction: float, doing: str) -> None:
        key = str(job.folder)
        if key not in self._bars:
            self._bars[key] = self._progress.add_task("", total=1.0, doing="")
        text = escape(f"{job.name}: {title}")
        self._progress.update(self._bars[key], description=text, completed=fraction, doing=doing)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_summary(console: Console, reports: Sequence[JobReport]) -> None:
    """A table with a row for each image."""
    table = Table("image", "outcome", "steps", "time", "remarks", box=None, pad_edge=False)
    for report in reports:
        outcome = report.outcome.value
        table.add_row(
            escape(report.job.name),
            f"[{_COLOURS[outcome]}]{outcome}[/]",
            ", ".join(f"{step.step}" for step in report.steps),
            f"{sum(step.seconds for step in report.steps):.1f} s",
            escape("; ".join(report.reasons)),
        )
    console.print(table)


def print_json(console: Console, reports: Sequence[JobReport]) -> None:
    """The same for scripts."""
    text = json.dumps([report.as_json() for report in reports], indent=1)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
