"""What do the products in a task's folder say was measured?

Users may put any file under any name, so nothing here trusts what it reads: a product that cannot
be read is left out, and named.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.measurements.votable import Unreadable, read_rows
from skyrelay import products
from skyrelay.stages import PHOTOMETRY, SIMPLE_TRANSIENTS, STAGES, SUBTRACTION

_log = logging.getLogger(__name__)

#: Bytes of the measured values of a stage.
_LARGEST_VALUES = 4 * 1024 * 1024
#: Lists and objects inside each other in them.
_DEEPEST = 32
#: What the databases have for flags and counts.
_LARGEST_COUNT = 2**31
#: The epoch of the modified Julian date.
_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
_DAY = 86400.0

Row = dict[str, Any]


@dataclass(frozen=True)
class TaskProducts:
    """What was measured in a task.

    ``stages``: by step, what its results file holds; ``targets``, ``candidates``: a row each, as
    the API shows it; ``unreadable``: files that should say something and do not.
    """

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    targets: list[Row] = field(default_factory=list)
    candidates: list[Row] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def value(self, step: str, name: str) -> Any:
        """A value that the stage has measured; None if it has not."""
        entry = self.stages.get(step, {}).get("values", {}).get(name)
        return entry.get("value") if isinstance(entry, dict) else None

    def number(self, step: str, name: str) -> float | None:
        """A number that the stage has measured, None if it has not, or it is none."""
        return _finite(self.value(step, name))

    def count(self, step: str, name: str) -> int | None:
        """How many of something the stage has found."""
        number = self.number(step, name)
        return None if number is None else _count(number)

    def error(self, step: str, name: str) -> float | None:
        """The uncertainty of a value that the stage has measured."""
        entry = self.stages.get(step, {}).get("values", {}).get(name)
        return _finite(entry.get("error")) if isinstance(entry, dict) else None

    @property
    def filter(self) -> str:
        """Filter of the image, as the photometry or the inspection has found it."""
        for step in (PHOTOMETRY.step, "inspect"):
            if name := self.value(step, "filter"):
                text = str(name)[:50]
                return text if text.isprintable() else ""
        return ""

    @property
    def time(self) -> float | None:
        """Time of the observation as MJD (UTC)."""
        return mjd(str(self.value("inspect", "time") or ""))


#: Tables of forced photometry: in the image, and in the difference.
_TARGETS = ((PHOTOMETRY.step, products.TARGET), (SUBTRACTION.step, products.SUB_TARGET))
#: Tables of candidates, and the folders with their cut-outs, by the step that makes them.
CANDIDATES = (
    (SIMPLE_TRANSIENTS.step, products.CANDIDATES_SIMPLE, products.CANDIDATES_SIMPLE_CUTOUTS),
    (SUBTRACTION.step, products.CANDIDATES, products.CANDIDATES_CUTOUTS),
)
#: The files that say all this.
READ = (
    *(stage.results_name for stage in STAGES),
    *(name for _, name in _TARGETS),
    *(name for _, name, _ in CANDIDATES),
)


def read_products(folder: Path) -> TaskProducts:
    """All that the products in the folder say.

    Raises
    ------
    FileNotFoundError
        If the folder is gone.
    """
    found = TaskProducts()
    names = {path.name for path in folder.iterdir()}
    for stage in STAGES:
        if stage.results_name in names:
            values = _read_values(folder / stage.results_name)
            if values is None:
                found.unreadable.append(stage.results_name)
            else:
                found.stages[stage.step] = values
    for step, name in _TARGETS:
        if name in names:
            rows = _rows(found, folder / name)
            found.targets.extend(_target(step, row) for row in rows)
    for step, name, cutouts in CANDIDATES:
        if name in names:
            found.candidates.extend(
                _candidate(step, cutouts, row) for row in _rows(found, folder / name)
            )
    return found


def mjd(text: str) -> float | None:
    """A moment in UTC, as ISO 8601 writes it, as modified Julian date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _MJD_ZERO).total_seconds() / _DAY


def _read_values(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > _LARGEST_VALUES:
            return None
        content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except (ValueError, RecursionError, IsADirectoryError):
        return None
    if (
        not _is_shallow(content)
        or not isinstance(content, dict)
        or not isinstance(content.get("values"), dict)
    ):
        return None
    degraded = content.get("degraded")
    return {"degraded": degraded if isinstance(degraded, list) else [], "values": content["values"]}


def _is_shallow(value: Any, depth: int = 0) -> bool:
    """Whether whoever writes it as JSON again can unwind it."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth < _DEEPEST and all(_is_shallow(each, depth + 1) for each in inner)


def _rows(found: TaskProducts, path: Path) -> list[dict[str, Any]]:
    try:
        return read_rows(path)
    except Unreadable as error:
        _log.warning("cannot read %s: %s", path, error)
        found.unreadable.append(path.name)
        return []


def _target(step: str, row: Mapping[str, Any]) -> Row:
    return {"step": step, "name": str(row.get("name") or ""), **_measured(row)}


def _candidate(step: str, cutouts: str, row: Mapping[str, Any]) -> Row:
    name = str(row.get("cutout_name") or "")
    return {
        "step": step,
        "name": str(row.get("name") or ""),
        **_measured(row),
        "score": _finite(row.get("rb_score")),
        "cutout": f"{cutouts}/{name}" if _is_name(name) else None,
    }


def _is_name(text: str) -> bool:
    """Whether it names a file that lies where it is looked for."""
    return bool(text) and text.isprintable() and "/" not in text and text not in (".", "..")


def _measured(row: Mapping[str, Any]) -> Row:
    flux, error = _finite(row.get("flux")), _finite(row.get("fluxerr"))
    flags = _finite(row.get("flags"))
    return {
        "ra": _finite(row.get("ra")),
        "dec": _finite(row.get("dec")),
        "x": _finite(row.get("x")),
        "y": _finite(row.get("y")),
        "flux": flux,
        "flux_error": error,
        "sn": flux / error if flux is not None and error else None,
        "mag": _finite(row.get("mag_calib")),
        "mag_error": _finite(row.get("mag_calib_err")),
        "mag_limit": _finite(row.get("mag_limit")),
        "filter": str(row.get("mag_filter_name") or ""),
        "flags": 0 if flags is None else _count(flags) or 0,
    }


def _count(number: float) -> int | None:
    """The number as a count, or as flags; None if it can be neither."""
    return int(number) if 0 <= number < _LARGEST_COUNT else None


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
