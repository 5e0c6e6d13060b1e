"""Which tasks cover a position, or a part of the sky?

Each task is kept under the few HEALPix cells, of about its image's size, that its coverage map
touches. They find the tasks that come into question; the maps themselves decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select
from sqlalchemy.orm import Session

from gateway.models import CoverageCell, Task

#: Orders of the cells under which tasks are kept: from a quarter of the sky to 50 arcsec.
_ORDERS = range(0, 13)
#: A task has about so many cells.
_CELLS = 8
#: The finest order of a map: cells of 0.4 mas.
_FINEST = 29
#: Cells of the sky at order 0.
_BASE = 12
_SKY = 41252.96
#: A map that is asked for is simplified to at most this many ranges of cells, for the question to
#: the database, which SQLite does not take with a thousand terms; of what is found, the map as it
#: was given decides.
_MOST_RANGES = 60
#: Tasks whose maps are looked at in one question.
_PAGE = 500

#: Says of a task's coverage map how much of something it covers.
Judge = Callable[[Any], float]


def keep(session: Session, task: Task) -> None:
    """Keep the task under the cells that its image touches now."""
    present = set(session.scalars(select(CoverageCell.uniq).where(CoverageCell.task_id == task.id)))
    wanted = set(_cells(task))
    if wanted == present:
        return
    session.execute(delete(CoverageCell).where(CoverageCell.task_id == task.id))
    if wanted:
        session.execute(
            insert(CoverageCell), [{"uniq": uniq, "task_id": task.id} for uniq in sorted(wanted)]
        )


def moc_of(task: Task) -> Any:
    """The coverage map of a task; of one without, a circle. None if nobody knows where it is.

    Returns
    -------
    mocpy.MOC or None
    """
    from mocpy import MOC

    if task.moc:
        return MOC.from_string(task.moc)
    if task.ra is None or task.dec is None or not task.radius:
        return None
    return circle(task.ra, task.dec, min(task.radius, 179.9))


def circle(ra: float, dec: float, radius: float) -> Any:
    """A map of a circle (degrees), by cells of about an eighth of its radius."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from mocpy import MOC

    order = math.ceil(0.5 * math.log2(_SKY / (_BASE * (radius / 8) ** 2)))
    return MOC.from_cone(
        Longitude(ra * u.deg),
        Latitude(dec * u.deg),
        radius=radius * u.deg,
        max_depth=min(max(order, 0), _FINEST),
    )


def _cells(task: Task) -> Iterator[int]:
    moc = moc_of(task)
    if moc is None or moc.empty():
        return
    order = min(_order_of(moc.sky_fraction * _SKY / _CELLS), moc.max_order)
    for cell in moc.degrade_to_order(order).flatten():
        yield _uniq(order, int(cell))


def _order_of(area: float) -> int:
    """The finest order whose cells are at least so large (square degrees)."""
    fitting = [order for order in _ORDERS if _SKY / (_BASE * 4**order) >= area]
    return fitting[-1] if fitting else _ORDERS[0]


def _uniq(order: int, cell: int) -> int:
    return (4 << 2 * order) + cell


def touching(ra: float, dec: float) -> ColumnElement[bool]:
    """The condition on coverage cells that contain a position (degrees)."""
    from skyrelay.sky.healpix import cells_of

    finest = _ORDERS[-1]
    cell = int(cells_of([ra], [dec], finest)[0])
    return CoverageCell.uniq.in_([_uniq(order, cell >> 2 * (finest - order)) for order in _ORDERS])


def overlapping(moc: Any) -> ColumnElement[bool]:
    """The condition on coverage cells that overlap a map, perhaps with some that nearly do."""
    conditions = []
    for order in _ORDERS:
        for low, high in _ranges(moc, order):
            conditions.append(CoverageCell.uniq.between(_uniq(order, low), _uniq(order, high - 1)))
    return or_(*conditions)


def _ranges(moc: Any, order: int) -> Sequence[tuple[int, int]]:
    """Ranges of cells of one order that the map touches; not too many of them."""
    coarser = moc
    for depth in range(min(order, moc.max_order), -1, -1):
        coarser = moc.degrade_to_order(depth) if depth < moc.max_order else moc
        if len(coarser.to_depth29_ranges) <= _MOST_RANGES:
            break
    shift = 2 * (29 - order)
    found: list[tuple[int, int]] = []
    for low, high in coarser.to_depth29_ranges.tolist():
        first, end = int(low) >> shift, ((int(high) - 1) >> shift) + 1
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((first, end))
    return found


def share_of(moc: Any) -> Judge:
    """Says which part of a map (0 to 1) an image covers."""

    def judge(own: Any) -> float:
        return float(own.intersection(moc).sky_fraction / moc.sky_fraction)

    return judge


def at(ra: float, dec: float) -> Judge:
    """Says whether an image covers a position (degrees): 1, or 0."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude

    place = Longitude([ra] * u.deg), Latitude([dec] * u.deg)

    def judge(own: Any) -> float:
        return float(own.contains_lonlat(*place)[0])

    return judge


def covering(
    session: Session, condition: ColumnElement[bool], judge: Judge, allowed: ColumnElement[bool]
) -> Iterator[tuple[Task, float]]:
    """The tasks that cover something of what is asked for, and how much; the newest first.

    Parameters
    ----------
    condition
        Of `touching` or `overlapping`.
    judge
        Of `at` or `share_of`.
    allowed
        The condition on tasks that may be found.
    """
    candidates = select(CoverageCell.task_id).where(condition)
    last: int | None = None
    while True:
        page = [allowed, Task.id.in_(candidates)]
        if last is not None:
            page.append(Task.id < last)
        tasks = session.scalars(
            select(Task).where(and_(*page)).order_by(Task.id.desc()).limit(_PAGE)
        ).all()
        for task in tasks:
            own = moc_of(task)
            if own is not None and (share := judge(own)) > 0:
                yield task, share
        if len(tasks) < _PAGE:
            return
        last = tasks[-1].id
