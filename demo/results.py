"""What came of the task, as its files and the API tell it?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from astropy.table import Table


@dataclass(frozen=True)
class StageTime:
    """How long an attempt of a step took, and how it ended."""

    step: str
    outcome: str
    seconds: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """All that the client has read back.

    ``values`` holds, for each step, the measured values of its results file; ``candidates`` a
    table for each step that searched.
    """

    task: int
    state: str
    config: dict[str, Any]
    values: dict[str, dict[str, Any]]
    candidates: dict[str, Table]
    stages: list[StageTime]
    finished: bool
    products: str
    reasons: list[str] = field(default_factory=list)

    def number(self, step: str, name: str) -> float | None:
        """A measured value, None where there is none."""
        return self._entry(step, name).get("value")

    def error(self, step: str, name: str) -> float | None:
        """Its one-sigma error, None where there is none."""
        return self._entry(step, name).get("error")

    def _entry(self, step: str, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = self.values.get(step, {}).get(name, {})
        return entry
