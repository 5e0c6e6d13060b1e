"""What do the products in a task's folder say was measured?

Users may put any file under any name, so nothing here trusts what it reads: a product that cannot
be read is left out, and named.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyrelay import products
from skyrelay.stages import PHOTOMETRY, SIMPLE_TRANSIENTS, STAGES, SUBTRACTION

_log = logging.getLogger(__name__)

#: Bytes of a table of targets or candidates; a thousand candidates take half a megabyte.
_LARGEST_TABLE = 64 * 1024 * 1024
#: Bytes of the measured values of a stage.
_LARGEST_VALUES = 4 * 1024 * 1024
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

    def error(self, step: str, name: str) -> float | None:
        """The uncertainty of a value that the stage has measured."""
        entry = self.stages.get(step, {}).get("values", {}).get(name)
        return _finite(entry.get("error")) if isinstance(entry, dict) else None

    @property
    def filter(self) -> str:
        """Filter of the image, as the photometry or the inspection has found it."""
        for step in (PHOTOMETRY.step, "inspect"):
            if name := self.value(step, "filter"):
                return str(name)[:50]
        return ""

    @property
    def time(self) -> float | None:
        """Time of the observation as MJD (UTC)."""
        return mjd(str(self.value("inspect", "time") or ""))


#: Tables of forced photometry: in the image, and in the difference.
_TARGETS = ((PHOTOMETRY.step, products.TARGET), (SUBTRACTION.step, products.SUB_TARGET))
#: Tables of candidates, and the folders with their cut-outs.
_CANDIDATES = (
    (SIMPLE_TRANSIENTS.step, products.CANDIDATES_SIMPLE, products.CANDIDATES_SIMPLE_CUTOUTS),
    (SUBTRACTION.step, products.CANDIDATES, products.CANDIDATES_CUTOUTS),
)
#: The files that say all this.
READ = (
    *(stage.results_name for stage in STAGES),
    *(name for _, name in _TARGETS),
    *(name for _, name, _ in _CANDIDATES),
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
    for step, name, cutouts in _CANDIDATES:
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
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("values"), dict):
        return None
    degraded = content.get("degraded")
    return {"degraded": degraded if isinstance(degraded, list) else [], "values": content["values"]}


def _rows(found: TaskProducts, path: Path) -> Iterator[Mapping[str, Any]]:
    from astropy.io.votable import parse_single_table  # It takes a second, and few need it.

    try:
        if path.stat().st_size > _LARGEST_TABLE:
            raise ValueError("it is too large")
        table = parse_single_table(str(path), verify="ignore").array
        names = table.dtype.names
        rows = [dict(zip(names, (_plain(item) for item in row), strict=True)) for row in table]
    except FileNotFoundError:
        raise
    except Exception as error:
        # astropy raises nearly everything for what is no VOTable.
        _log.warning("cannot read %s: %s", path, error)
        found.unreadable.append(path.name)
        return
    yield from rows


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it: None where it is masked or not finite."""
    import numpy as np

    if value is np.ma.masked:
        return None
    item = value.item() if isinstance(value, np.generic) else value
    if isinstance(item, bytes):
        return item.decode("utf-8", "replace")
    if isinstance(item, float):
        return item if math.isfinite(item) else None
    return item if isinstance(item, str | int | bool) or item is None else str(item)


def _target(step: str, row: Mapping[str, Any]) -> Row:
    return {"step": step, "name": str(row.get("name") or ""), **_measured(row)}


def _candidate(step: str, cutouts: str, row: Mapping[str, Any]) -> Row:
    name = row.get("cutout_name")
    return {
        "step": step,
        "name": str(row.get("name") or ""),
        **_measured(row),
        "score": _finite(row.get("rb_score")),
        "cutout": f"{cutouts}/{name}" if name else None,
    }


def _measured(row: Mapping[str, Any]) -> Row:
    flux, error = _finite(row.get("flux")), _finite(row.get("fluxerr"))
    flags = row.get("flags")
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
        "flags": int(flags) if isinstance(flags, int | float) else 0,
    }


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
