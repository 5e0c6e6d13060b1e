"""How bright was a place on the sky, whenever anybody looked?

Positions are indexed by their nested HEALPix cell of order 29. Cells of the curve that are near on
the sky are mostly near in number, so that a circle is a few ranges of numbers, found by a plain
index of either database, whatever its radius. See docs/light-curves.md for what else was weighed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from gateway.measurements import coverage
from gateway.models import CoverageCell, Measurement, MeasurementSet, SetState, Source, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Rows of one answer.
MOST = 100_000
#: Arcsec: more than this is no light curve but a catalogue.
LARGEST_RADIUS = 300.0
_ARCSEC = 3600.0

Point = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """Where (degrees, ICRS; radius in arcsec), and what of it.

    ``sources``: empty for all; ``after``, ``before``: MJD.
    """

    ra: float
    dec: float
    radius: float
    sources: Sequence[Source] = ()
    filters: Sequence[str] = ()
    after: float | None = None
    before: float | None = None
    limits: bool = True


class TooMany(Exception):
    """More measurements lie there than one answer holds."""


def light_curve(session: Session, question: Question, allowed: ColumnElement[bool]) -> list[Point]:
    """All measurements around the position, and the upper limits of images without any; by time.

    ``allowed`` is the condition on tasks whose measurements may be seen.

    Raises
    ------
    TooMany
        If there are more than `MOST`.
    """
    points = list(_measured(session, question, allowed))
    if question.limits and (not question.sources or Source.OBJECTS in question.sources):
        seen = {point["task"] for point in points}
        points.extend(_limits(session, question, allowed, seen))
    return sorted(points, key=lambda point: (point["time"] is None, point["time"], point["task"]))


def _measured(
    session: Session, question: Question, allowed: ColumnElement[bool]
) -> Iterator[Point]:
    query = (
        select(
            Measurement.cell,
            Measurement.mag,
            Measurement.mag_err,
            Measurement.mag_limit,
            Measurement.flags,
            *_ABOUT,
        )
        .join(MeasurementSet, MeasurementSet.id == Measurement.set_id)
        .join(Task, Task.id == MeasurementSet.task_id)
        .where(
            or_(*(Measurement.cell.between(low, high - 1) for low, high in _ranges(question))),
            *_of_sets(question),
            allowed,
        )
        .limit(MOST + 1)
    )
    if question.sources:
        query = query.where(MeasurementSet.source.in_(question.sources))
    found = session.execute(query).all()
    if len(found) > MOST:
        raise TooMany
    if not found:
        return
    ra, dec, distance = _places(question, [row.cell for row in found])
    for row, *place in zip(found, ra.tolist(), dec.tolist(), distance.tolist(), strict=True):
        if place[2] <= question.radius:
            yield _point(row, *place)


_ABOUT = (
    MeasurementSet.source,
    MeasurementSet.filter,
    MeasurementSet.time,
    MeasurementSet.mag_limit.label("image_limit"),
    Task.id.label("task"),
    Task.original_name,
)


def _of_sets(question: Question) -> list[ColumnElement[bool]]:
    conditions = [MeasurementSet.state == SetState.CURRENT]
    if question.filters:
        conditions.append(MeasurementSet.filter.in_(question.filters))
    if question.after is not None:
        conditions.append(MeasurementSet.time >= question.after)
    if question.before is not None:
        conditions.append(MeasurementSet.time < question.before)
    return conditions


def _ranges(question: Question) -> list[tuple[int, int]]:
    """Ranges of cells of order 29 that hold the circle; each ends before its second number."""
    from skyrelay.sky.healpix import FINEST, Cone, cells_in, order_for

    order = order_for(question.radius / _ARCSEC)
    cells = cells_in(Cone(question.ra, question.dec, question.radius / _ARCSEC), order)
    shift = 2 * (FINEST - order)
    ranges: list[tuple[int, int]] = []
    for cell in sorted(cells):
        low, high = cell << shift, (cell + 1) << shift
        if ranges and ranges[-1][1] == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
    return ranges


def _places(
    question: Question, cells: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Where the cells are, and how far from the position in arcsec."""
    from skyrelay.sky.healpix import FINEST, centres_of

    ra, dec = centres_of(cells, FINEST)
    # Of small angles, the haversine keeps all digits.
    import numpy as np  # It takes 15 MB of each process, and few need it.

    lon, lat = np.radians(ra - question.ra), np.radians(dec)
    here = np.radians(question.dec)
    half = np.sin((lat - here) / 2) ** 2 + np.cos(lat) * np.cos(here) * np.sin(lon / 2) ** 2
    return ra, dec, np.degrees(2 * np.arcsin(np.sqrt(half))) * _ARCSEC


def _point(row: Any, ra: float, dec: float, distance: float) -> Point:
    limit = row.mag_limit if row.mag_limit is not None else row.image_limit
    seen = row.mag is not None and (
        row.mag_limit is None or row.source == Source.CANDIDATES or row.mag <= row.mag_limit
    )
    return {
        "time": row.time,
        "filter": row.filter,
        "mag": row.mag,
        "mag_error": row.mag_err,
        "mag_limit": limit,
        "detected": seen,
        "source": row.source,
        "ra": ra,
        "dec": dec,
        "distance": distance,
        "flags": row.flags,
        "task": row.task,
        "original_name": row.original_name,
    }


def _limits(
    session: Session, question: Question, allowed: ColumnElement[bool], seen: set[int]
) -> Iterator[Point]:
    """The depths of images that cover the position and show nothing there."""
    covered = select(CoverageCell.task_id).where(coverage.touching(question.ra, question.dec))
    looked = (
        select(Task, *_ABOUT)
        .join(MeasurementSet, MeasurementSet.task_id == Task.id)
        .where(
            and_(*_of_sets(question), allowed),
            MeasurementSet.source == Source.OBJECTS,
            MeasurementSet.mag_limit.is_not(None),
            Task.id.in_(covered),
        )
        .limit(MOST)
    )
    judge = coverage.at(question.ra, question.dec)
    for row in session.execute(looked):
        if row.task in seen:
            continue
        own = coverage.moc_of(row[0])
        if own is not None and judge(own):
            yield {
                "time": row.time,
                "filter": row.filter,
                "mag": None,
                "mag_error": None,
                "mag_limit": row.image_limit,
                "detected": False,
                "source": row.source,
                "ra": question.ra,
                "dec": question.dec,
                "distance": 0.0,
                "flags": 0,
                "task": row.task,
                "original_name": row.original_name,
            }
