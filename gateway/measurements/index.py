"""How do the measurements of a task get into the tables that are searched across tasks?

The products are the truth, the tables an index of them: `bring_up_to_date` compares the two and
changes what differs. So it may be done twice, late, or again after a crash, by anybody, and the
order of runs does not matter. Transactions are small, so that nobody waits for this one's end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.measurements import coverage
from gateway.measurements.parquet import read_columns
from gateway.measurements.products import READ, Row, TaskProducts, read_products
from gateway.measurements.votable import Unreadable
from gateway.models import (
    IS_LITTER,
    Measurement,
    MeasurementSet,
    SetState,
    Source,
    Task,
    TaskResults,
    now,
)
from skyrelay import products
from skyrelay.stages import PHOTOMETRY, SUBTRACTION

_log = logging.getLogger(__name__)

#: Rows written, or removed, in one transaction: on SQLite everybody else waits for it.
CHUNK = 2000
#: A set that is still being filled after this time was left by a process that has died.
_ABANDONED = timedelta(hours=1)

#: The products that are indexed.
FILES = {
    Source.OBJECTS: products.OBJECTS,
    Source.TARGETS: products.TARGET,
    Source.DIFFERENCE_TARGETS: products.SUB_TARGET,
    Source.CANDIDATES: products.CANDIDATES,
}
#: Columns of the list of objects that are needed here.
_OBJECT_COLUMNS = ("ra", "dec", "mag_calib", "mag_calib_err", "flags")
#: What is no magnitude.
_FAINTEST = 1000.0


@dataclass(frozen=True, slots=True)
class Position:
    """One measurement, on its way into the table; degrees and magnitudes."""

    ra: float
    dec: float
    mag: float | None
    mag_err: float | None
    mag_limit: float | None
    flags: int


@dataclass(frozen=True)
class _Version:
    """What one version of a task's folder says; of measurements only those that are new."""

    products: TaskProducts
    fingerprints: dict[Source, str]
    fresh: dict[Source, list[Position]]


def bring_up_to_date(gateway: Gateway, task_id: int) -> TaskProducts | None:
    """Make the tables say what the products of the task say; None if the task is gone.

    Raises
    ------
    IntegrityError
        If somebody else does the same for this task, or it is being deleted: do it again later.
    OSError
        If the store does not answer now.
    """
    known = _current(gateway, task_id)
    try:
        found = gateway.store.read_version(
            task_id, lambda folder: _read(folder, known), (*READ, *FILES.values())
        )
    except FileNotFoundError:
        found = _Version(TaskProducts(), {}, {})
    with gateway.database.writing() as session:
        task = session.get(Task, task_id)
        if task is None:
            return None
        _keep_results(session, task_id, found.products)
        coverage.keep(session, task)
        for source in known.keys() - found.fingerprints.keys():
            _retire(session, task_id, source)
    for source, rows in found.fresh.items():
        fill(gateway, _new_set(task_id, source, found), rows)
    return found.products


def _current(gateway: Gateway, task_id: int) -> dict[Source, str]:
    query = select(MeasurementSet.source, MeasurementSet.fingerprint).where(
        MeasurementSet.task_id == task_id, MeasurementSet.state == SetState.CURRENT
    )
    with gateway.database.reading() as session:
        return {Source(source): fingerprint for source, fingerprint in session.execute(query)}


def _read(folder: Path, known: dict[Source, str]) -> _Version:
    found = read_products(folder)
    fingerprints, fresh = {}, {}
    for source, name in FILES.items():
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            continue
        fingerprints[source] = f"{status.st_mtime_ns}-{status.st_size}"
        if known.get(source) != fingerprints[source]:
            fresh[source] = _positions(source, folder, found)
    return _Version(found, fingerprints, fresh)


def _positions(source: Source, folder: Path, found: TaskProducts) -> list[Position]:
    if source is Source.OBJECTS:
        return _objects(folder / products.OBJECTS)
    rows, step = {
        Source.TARGETS: (found.targets, PHOTOMETRY.step),
        Source.DIFFERENCE_TARGETS: (found.targets, SUBTRACTION.step),
        Source.CANDIDATES: (found.candidates, SUBTRACTION.step),
    }[source]
    return [
        Position(
            ra=row["ra"],
            dec=row["dec"],
            mag=_magnitude(row["mag"]),
            mag_err=_magnitude(row["mag_error"]),
            mag_limit=_magnitude(row["mag_limit"]),
            flags=row["flags"],
        )
        for row in rows
        if row["step"] == step and _is_somewhere(row)
    ]


def _is_somewhere(row: Row) -> bool:
    known = row["ra"] is not None and row["dec"] is not None and abs(row["dec"]) <= 90
    measured = _magnitude(row["mag"]), _magnitude(row["mag_limit"])
    return known and any(each is not None for each in measured)


def _magnitude(value: float | None) -> float | None:
    """A magnitude, or its error; None for what can be none, and what no column holds."""
    return value if value is not None and abs(value) < _FAINTEST else None


def _objects(path: Path) -> list[Position]:
    """The calibrated objects of an image. Objects without a place on the sky are left out."""
    import numpy as np

    try:
        table = read_columns(path, _OBJECT_COLUMNS)
    except Unreadable as error:
        # The user may have put anything there.
        _log.warning("cannot read %s: %s", path, error)
        return []
    ra, dec, mag, mag_err, flags = (table[name] for name in _OBJECT_COLUMNS)
    good = np.isfinite(ra) & (np.abs(dec) <= 90) & (np.abs(mag) < _FAINTEST)
    flags = np.where((flags >= 0) & (flags < 2**31), flags, 0)
    columns = (values[good].tolist() for values in (ra, dec, mag, mag_err, flags))
    return [
        Position(ra, dec, mag, _magnitude(error), None, int(flags))
        for ra, dec, mag, error, flags in zip(*columns, strict=True)
    ]


def _keep_results(session: Session, task_id: int, found: TaskProducts) -> None:
    if not found.stages:
        session.execute(delete(TaskResults).where(TaskResults.task_id == task_id))
        return
    step = PHOTOMETRY.step
    session.merge(
        TaskResults(
            task_id=task_id,
            filter=found.filter,
            time=found.time,
            zero_point=found.number(step, "zero_point"),
            zero_point_error=found.error(step, "zero_point"),
            color_term=found.number(step, "color_term"),
            mag_limit=found.number(step, "mag_limit"),
            fwhm=found.number(step, "fwhm_arcsec"),
            n_objects=found.count(step, "n_objects"),
            n_targets=len(found.targets),
            n_candidates=len(found.candidates),
            targets=found.targets,
            candidates=found.candidates,
            updated=now(),
        )
    )


def _new_set(task_id: int, source: Source, found: _Version) -> MeasurementSet:
    return MeasurementSet(
        task_id=task_id,
        source=source,
        fingerprint=found.fingerprints[source],
        filter=found.products.filter,
        time=found.products.time,
        mag_limit=found.products.number(PHOTOMETRY.step, "mag_limit"),
        count=len(found.fresh[source]),
    )


def fill(gateway: Gateway, made: MeasurementSet, positions: Sequence[Position]) -> None:
    """Write a new set of measurements, and let it take the place of the one before.

    Raises
    ------
    IntegrityError
        If somebody else has put one there meanwhile, or the task is gone.
    """
    with gateway.database.writing() as session:
        session.add(made)
    for chunk in _chunks(_rows(made.id, positions)):
        with gateway.database.writing() as session:
            session.execute(insert(Measurement), chunk)
    with gateway.database.writing() as session:
        if made.task_id is not None:
            _retire(session, made.task_id, Source(made.source))
        session.execute(
            update(MeasurementSet)
            .where(MeasurementSet.id == made.id)
            .values(state=SetState.CURRENT)
        )


def _rows(set_id: int, positions: Sequence[Position]) -> Iterator[dict[str, Any]]:
    from skyrelay.sky.healpix import FINEST, cells_of

    if not positions:
        return
    cells = cells_of([each.ra for each in positions], [each.dec for each in positions], FINEST)
    for number, (each, cell) in enumerate(zip(positions, cells.tolist(), strict=True)):
        yield {
            "set_id": set_id,
            "n": number,
            "cell": cell,
            "mag": each.mag,
            "mag_err": each.mag_err,
            "mag_limit": each.mag_limit,
            "flags": each.flags,
        }


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _retire(session: Session, task_id: int, source: Source) -> None:
    """From now on the present set counts no more; `sweep` takes it away."""
    session.execute(
        update(MeasurementSet)
        .where(
            MeasurementSet.task_id == task_id,
            MeasurementSet.source == source,
            MeasurementSet.state == SetState.CURRENT,
        )
        .values(state=SetState.OLD)
    )


def sweep(gateway: Gateway) -> None:
    """Remove, bit by bit, the measurements that count no more, or whose task is gone."""
    filling = MeasurementSet.created < now() - _ABANDONED
    litter = (
        select(MeasurementSet.id)
        .where(
            IS_LITTER,
            or_(MeasurementSet.task_id.is_(None), MeasurementSet.state == SetState.OLD, filling),
        )
        .order_by(MeasurementSet.id)
    )
    with gateway.database.reading() as session:
        found = session.scalars(litter).all()
    for set_id in found:
        _remove(gateway, set_id)


def _remove(gateway: Gateway, set_id: int) -> None:
    first = 0
    while True:
        with gateway.database.writing() as session:
            highest = session.scalar(
                select(Measurement.n)
                .where(Measurement.set_id == set_id)
                .order_by(Measurement.n.desc())
                .limit(1)
            )
            if highest is None:
                session.execute(delete(MeasurementSet).where(MeasurementSet.id == set_id))
                return
            first += CHUNK
            session.execute(
                delete(Measurement).where(Measurement.set_id == set_id, Measurement.n < first)
            )
