"""What was measured, where and when, so that it is found across all tasks?

The products of a task say it first; these tables are made of them when a stage has ended, and
can be made of them again at any time (see `gateway.measurements.index`).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import REAL, BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.models.base import Base, JsonObject, UtcDateTime, now


class Source(StrEnum):
    """Which product of a task a measurement is from."""

    #: Objects that were detected in the image.
    OBJECTS = "objects"
    #: Forced photometry in the image.
    TARGETS = "targets"
    #: Forced photometry in the difference image.
    DIFFERENCE_TARGETS = "difference_targets"
    #: Detections in the difference image.
    CANDIDATES = "candidates"


class SetState(StrEnum):
    """Whether a set of measurements counts."""

    FILLING = "filling"
    CURRENT = "current"
    OLD = "old"


#: Conditions of partial indexes, which serve only where they stand in a query to the letter.
IS_CURRENT = text("state = 'current'")
IS_LITTER = text("state <> 'current' OR task_id IS NULL")


class TaskResults(Base):
    """What came of a task as a whole, for questions about many tasks.

    ``time``: MJD (UTC); ``mag_limit``, ``zero_point``: mag; ``fwhm``: arcsec.
    """

    __tablename__ = "task_results"

    task_id: Mapped[int] = mapped_column(
        ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    filter: Mapped[str] = mapped_column(String(50), default="", index=True)
    time: Mapped[float | None] = mapped_column(index=True)
    zero_point: Mapped[float | None]
    zero_point_error: Mapped[float | None]
    color_term: Mapped[float | None]
    mag_limit: Mapped[float | None]
    fwhm: Mapped[float | None]
    n_objects: Mapped[int | None]
    n_targets: Mapped[int] = mapped_column(default=0)
    n_candidates: Mapped[int] = mapped_column(default=0)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    targets: Mapped[list[dict[str, Any]]] = mapped_column(JsonObject, default=list, deferred=True)
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(
        JsonObject, default=list, deferred=True
    )


class MeasurementSet(Base):
    """The measurements of one product of one task, and what they have in common.

    A product that is replaced gets a new set: it is filled beside the old one, bit by bit, and
    takes its place at once. ``fingerprint`` tells the product's file from the next one.
    """

    __tablename__ = "measurement_sets"
    __table_args__ = (
        Index(
            "uq_measurement_sets_current",
            "task_id",
            "source",
            unique=True,
            sqlite_where=IS_CURRENT,
            postgresql_where=IS_CURRENT,
        ),
        Index(
            "ix_measurement_sets_litter",
            "id",
            sqlite_where=IS_LITTER,
            postgresql_where=IS_LITTER,
        ),
        # A set's number is in its measurements, which go later than the set's task.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int | None] = mapped_column(
        ForeignKey("tasks.id", ondelete="SET NULL"), index=True
    )
    source: Mapped[str] = mapped_column(String(20))
    fingerprint: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(10), default=SetState.FILLING)
    filter: Mapped[str] = mapped_column(String(50), default="")
    time: Mapped[float | None]
    mag_limit: Mapped[float | None]
    count: Mapped[int] = mapped_column(default=0)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class Measurement(Base):
    """One measured magnitude, or limit, at one position.

    ``cell`` is the position: the nested HEALPix cell of order 29, which is 0.4 mas wide. It finds
    and it is the position, so that a row needs no coordinates beside it. Rows are many: no more
    columns than a light curve needs, single precision where that is better than any measurement,
    and no foreign key, which would be looked at for each.
    """

    __tablename__ = "measurements"

    set_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cell: Mapped[int] = mapped_column(BigInteger, index=True)
    mag: Mapped[float | None] = mapped_column(REAL)
    mag_err: Mapped[float | None] = mapped_column(REAL)
    mag_limit: Mapped[float | None] = mapped_column(REAL)
    flags: Mapped[int] = mapped_column(default=0)


class CoverageCell(Base):
    """A part of the sky that a task's image may cover: a HEALPix cell as its ``uniq`` number.

    A few cells per task, of about the image's size; the task's coverage map has the last word.
    """

    __tablename__ = "coverage_cells"

    uniq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(
        ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, index=True
    )
