"""How quickly does a light curve come out of ten million measurements?

Fields are observed again and again; each visit measures the same stars. The rows are written as the
gateway's tables have them, on PostgreSQL (the tests' private one) or SQLite. Then light curves of
random stars are asked for, each of them another one, through the code that the API uses; beside it
stands the time of a plain scan of the table, which is what one without an index of the sky would
cost.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, insert, select, text, true

from gateway.core import Gateway
from gateway.measurements.lightcurve import Question, light_curve
from gateway.models import Measurement, MeasurementSet, SetState, Source, Task, User
from skyrelay.sky.healpix import FINEST, cells_of
from tests.support.gateway import add_user, opened
from tests.support.postgres import cluster

#: Stars of a field, and visits of each.
STARS, VISITS = 10_000, 20
#: Degrees; scatter of positions in degrees.
_FIELD, _SCATTER = 0.5, 0.05 / 3600
_RADIUS = 1.5


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--asked", type=int, default=500)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _database(options.database, folder) as url:
        with opened(Path(folder), url) as gateway:
            figures = _measured(gateway, options.rows, options.asked)
    figures["database"] = options.database
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:>28}: {value}")


@contextmanager
def _database(kind: str, folder: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/gateway.db"
        return
    with cluster() as postgres:
        yield postgres.url()


def _measured(gateway: Gateway, rows: int, asked: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    begun = time.perf_counter()
    fields = _fill(gateway, rows, rng)
    filled = time.perf_counter() - begun
    if not gateway.database.is_sqlite:
        with gateway.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
    times, points = _ask(gateway, fields, asked, rng)
    with gateway.database.reading() as session:
        count = session.scalar(select(func.count()).select_from(Measurement))
        begun = time.perf_counter()
        session.scalar(select(func.count()).where(func.abs(Measurement.cell - 1) < 1))
        scan = time.perf_counter() - begun
    milliseconds = np.array(times) * 1000
    return {
        "measurements": count,
        "rows written per second": round(rows / filled),
        "light curves asked for": asked,
        "points of each, mean": round(float(np.mean(points)), 1),
        "median, ms": round(float(np.median(milliseconds)), 2),
        "95th percentile, ms": round(float(np.percentile(milliseconds, 95)), 2),
        "slowest, ms": round(float(milliseconds.max()), 2),
        "whole scan, ms": round(scan * 1000),
        "scan / median": round(scan * 1000 / float(np.median(milliseconds))),
    }


def _fill(
    gateway: Gateway, rows: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    add_user(gateway, "surveyor")
    fields = []
    for number in range(max(1, rows // (STARS * VISITS))):
        # Even over the sky: a field at a random place of the sphere.
        ra0, dec0 = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-0.99, 0.99)))
        ra = ra0 + rng.uniform(-0.5, 0.5, STARS) * _FIELD / np.cos(np.radians(dec0))
        dec = dec0 + rng.uniform(-0.5, 0.5, STARS) * _FIELD
        fields.append((ra, dec))
        for visit in range(VISITS):
            _visit(gateway, ra, dec, f"{number}-{visit}.fits", visit, rng)
    return fields


def _visit(
    gateway: Gateway,
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    name: str,
    day: int,
    rng: np.random.Generator,
) -> None:
    stretch = np.cos(np.radians(dec))
    cells = cells_of(
        ra + rng.normal(0, _SCATTER, STARS) / stretch, dec + rng.normal(0, _SCATTER, STARS), FINEST
    )
    magnitudes = rng.uniform(14, 20, STARS)
    with gateway.database.writing() as session:
        user = session.scalars(select(User)).one()
        task = Task(original_name=name, title="", state="photometry_done", user=user, reasons=[])
        session.add(task)
        session.flush()
        made = MeasurementSet(
            task_id=task.id,
            source=Source.OBJECTS,
            fingerprint=name,
            state=SetState.CURRENT,
            filter="r",
            time=60000.0 + day,
            mag_limit=20.5,
            count=STARS,
        )
        session.add(made)
        session.flush()
        _write(gateway, session, made.id, cells.tolist(), magnitudes.tolist())


def _write(
    gateway: Gateway, session: Any, set_id: int, cells: list[int], magnitudes: list[float]
) -> None:
    if gateway.database.is_sqlite:
        session.execute(
            insert(Measurement),
            [
                {"set_id": set_id, "n": n, "cell": cell, "mag": mag, "mag_err": 0.02, "flags": 0}
                for n, (cell, mag) in enumerate(zip(cells, magnitudes, strict=True))
            ],
        )
        return
    cursor = session.connection().connection.cursor()
    with cursor.copy("COPY measurements (set_id, n, cell, mag, mag_err, flags) FROM STDIN") as copy:
        for n, (cell, mag) in enumerate(zip(cells, magnitudes, strict=True)):
            copy.write_row((set_id, n, cell, mag, 0.02, 0))


def _ask(
    gateway: Gateway,
    fields: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    asked: int,
    rng: np.random.Generator,
) -> tuple[list[float], list[int]]:
    times, points = [], []
    for _ in range(asked):
        ra, dec = fields[rng.integers(len(fields))]
        star = int(rng.integers(STARS))
        question = Question(float(ra[star]) % 360, float(dec[star]), _RADIUS)
        begun = time.perf_counter()
        with gateway.database.reading() as session:
            found = light_curve(session, question, true())
        times.append(time.perf_counter() - begun)
        points.append(len(found))
    return times, points


if __name__ == "__main__":
    main()
