"""What does a client learn of a place on the sky: light curves, limits, who has looked there?"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from astropy.io.votable import parse_single_table
from sqlalchemy import func, select

from gateway.followups.indexing import index
from gateway.measurements.index import bring_up_to_date, sweep
from gateway.models import CoverageCell, Measurement, MeasurementSet, Task, TaskResults
from skyrelay.stages import PHOTOMETRY
from tests.support.gateway import Bench, Caller
from tests.support.measured import Field, measured_task, photometry

#: Degrees.
_ARCSEC = 1 / 3600


def _curve(caller: Caller, ra: float, dec: float, **query: Any) -> list[dict[str, Any]]:
    answer = caller.get("lightcurve/", query_string={"ra": ra, "dec": dec, **query})
    assert answer.status_code == 200, answer.json
    return list(answer.json["results"])


def _night(day: int, mag: float | None, **more: Any) -> Field:
    """An image of a night on which the star at 10, 20 had this magnitude."""
    objects = [(10.1, 20.1, 16.0)] + ([] if mag is None else [(10.0, 20.0, mag)])
    return Field(objects=objects, time=f"2026-01-{day:02d}T00:00:00", **more)


def test_a_light_curve_has_detections_and_upper_limits_by_time(bench: Bench, alice: Caller) -> None:
    for day, mag in ((3, None), (1, 17.0), (2, 18.5)):
        measured_task(bench, alice, _night(day, mag))
    index(bench.gateway)
    points = _curve(alice, 10.0, 20.0)
    assert [point["mag"] for point in points] == [17.0, 18.5, None]
    assert [point["detected"] for point in points] == [True, True, False]
    assert [point["time"] for point in points] == [61041.0, 61042.0, 61043.0]
    assert points[2]["mag_limit"] == 20.5
    assert points[0]["distance"] < 0.001
    assert [point["mag"] for point in _curve(alice, 10.0, 20.0, limits=0)] == [17.0, 18.5]
    assert _curve(alice, 10.0, 20.0, after=61041.5, before=61042.5)[0]["mag"] == 18.5
    assert _curve(alice, 30.0, 20.0) == []


def test_a_light_curve_has_the_columns_of_stdweb_where_they_are_wanted(
    bench: Bench, alice: Caller
) -> None:
    seen = _night(2, 17.0, targets=[(10.0, 20.0, 17.5)])
    task = measured_task(bench, alice, seen, "m31.fits")
    measured_task(bench, alice, _night(3, None))
    index(bench.gateway)
    answer = alice.get("lightcurve/?ra=10&dec=20&names=stdweb&format=votable")
    table = parse_single_table(io.BytesIO(answer.data)).to_table()
    assert table.colnames == [
        *("task_id", "original_name", "source_file", "time", "filter", "distance_arcsec"),
        *("ra", "dec", "mag_calib", "mag_calib_err", "band", "flags"),
    ]
    assert sorted(table["source_file"]) == ["objects.parquet", "target.vot"]
    assert set(table["task_id"]) == {task} and set(table["original_name"]) == {"m31.fits"}
    assert set(table["time"]) == {"2026-01-02 00:00:00.000"}
    assert sorted(table["mag_calib"]) == [17.0, 17.5]
    assert alice.get("lightcurve/?ra=10&dec=20&names=stdweb").json["count"] == 2
    assert alice.get("lightcurve/?ra=10&dec=20&names=other").status_code == 400


def test_targets_and_candidates_are_in_the_light_curve_too(bench: Bench, alice: Caller) -> None:
    seen = Field(targets=[(10.0, 20.0, 17.0), (10.1, 20.0, None)], candidates=[(10.0, 20.0, 18.0)])
    measured_task(bench, alice, seen)
    index(bench.gateway)
    points = _curve(alice, 10.0, 20.0, source="targets,candidates")
    assert {(point["source"], point["mag"]) for point in points} == {
        ("targets", 17.0),
        ("candidates", 18.0),
    }
    (limit,) = _curve(alice, 10.1, 20.0, source="targets")
    assert (limit["detected"], limit["mag"], limit["mag_limit"]) == (False, None, 20.5)
    assert alice.get("lightcurve/?ra=1&dec=2&source=rumours").status_code == 400


@pytest.mark.parametrize(
    ("ra", "dec"), [(0.0, -89.99), (359.9999, -41.8), (45.0, 0.0), (0.0, 41.8), (359.9999, 89.99)]
)
def test_the_circle_is_exact_everywhere_on_the_sky(
    bench: Bench, alice: Caller, ra: float, dec: float
) -> None:
    stretch = np.cos(np.radians(dec))
    within = [((ra + 4.9 * _ARCSEC / stretch) % 360, dec, 17.0), (ra, dec - 4.9 * _ARCSEC, 17.1)]
    beyond = [((ra - 5.1 * _ARCSEC / stretch) % 360, dec, 18.0), (ra, dec - 5.1 * _ARCSEC, 18.1)]
    measured_task(bench, alice, Field(ra=ra, dec=dec, objects=[*within, *beyond]))
    index(bench.gateway)
    points = _curve(alice, ra, dec, radius=5, limits=0)
    assert sorted(point["mag"] for point in points) == pytest.approx([17.0, 17.1])
    assert all(point["distance"] == pytest.approx(4.9, abs=0.01) for point in points)


def test_a_light_curve_is_a_votable_too(bench: Bench, alice: Caller) -> None:
    measured_task(bench, alice, _night(1, 17.0))
    measured_task(bench, alice, _night(2, None))
    index(bench.gateway)
    answer = alice.get("lightcurve/?ra=10&dec=20&format=votable")
    table = parse_single_table(io.BytesIO(answer.data))
    assert table.get_field_by_id_or_name("mag").unit == "mag"
    assert table.array["mag"].mask.tolist() == [False, True]
    assert table.array["detected"].tolist() == [True, False]


def test_a_new_photometry_takes_the_place_of_the_old_one(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, _night(1, 17.0))
    index(bench.gateway)
    again = _night(1, 17.5)
    bench.run(alice, task, PHOTOMETRY.step, make=photometry(again), field=again.sky)
    index(bench.gateway)
    assert [point["mag"] for point in _curve(alice, 10.0, 20.0)] == [17.5]
    sweep(bench.gateway)
    assert _count(bench, Measurement) == 2
    assert _count(bench, MeasurementSet) == 1


def test_indexing_twice_changes_nothing(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, _night(1, 17.0))
    for _ in range(3):
        bring_up_to_date(bench.gateway, task)
    assert [point["mag"] for point in _curve(alice, 10.0, 20.0)] == [17.0]
    assert _count(bench, MeasurementSet) == 1


def test_nothing_is_left_of_a_task_that_is_deleted(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, _night(1, 17.0))
    index(bench.gateway)
    alice("DELETE", f"tasks/{task}/")
    assert _curve(alice, 10.0, 20.0) == []
    sweep(bench.gateway)
    for table in (Measurement, MeasurementSet, CoverageCell, TaskResults):
        assert _count(bench, table) == 0
    assert bring_up_to_date(bench.gateway, task) is None


def _count(bench: Bench, table: Any) -> int:
    with bench.gateway.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_light_curves_and_coverage_show_only_what_one_may_see(
    bench: Bench, alice: Caller, bob: Caller, eve: Caller
) -> None:
    task = measured_task(bench, alice, _night(1, 17.0))
    index(bench.gateway)
    assert _curve(bob, 10.0, 20.0) == []
    alice("PATCH", f"tasks/{task}/", json={"groups": ["observers"]})
    assert len(_curve(bob, 10.0, 20.0)) == 1
    assert _curve(eve, 10.0, 20.0) == []
    assert eve.get("coverage/?ra=10&dec=20").json["results"] == []
    assert len(bob.get("coverage/?ra=10&dec=20").json["results"]) == 1


def _covering(caller: Caller, **query: Any) -> list[int]:
    answer = caller.get("coverage/", query_string=query)
    assert answer.status_code == 200, answer.json
    return [each["id"] for each in answer.json["results"]]


@pytest.mark.parametrize("size", [0.02, 0.5, 8.0])
def test_images_of_every_size_are_found_by_what_they_cover(
    bench: Bench, alice: Caller, size: float
) -> None:
    here = measured_task(bench, alice, Field(ra=10, dec=20, size=size))
    there = measured_task(bench, alice, Field(ra=190, dec=-20, size=size))
    index(bench.gateway)
    assert _covering(alice, ra=10 + 0.4 * size, dec=20) == [here]
    assert _covering(alice, ra=10 + 0.7 * size, dec=20) == []
    assert _covering(alice, ra=190, dec=-20) == [there]
    assert _covering(alice, moc="0/0-11") == [there, here]
    assert _covering(alice, moc="3/0") == []


def test_a_map_is_answered_with_the_share_that_is_covered(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, Field(ra=10, dec=20, size=0.5))
    index(bench.gateway)
    with bench.gateway.database.reading() as session:
        (moc,) = session.execute(select(Task.moc)).scalars()
    (found,) = alice.post("coverage/", json={"moc": moc}).json["results"]
    assert (found["id"], found["share"]) == (task, pytest.approx(1.0))


@pytest.mark.parametrize(
    "query",
    ["", "ra=1", "ra=x&dec=1", "ra=1&dec=91", "ra=nan&dec=0", "moc=nonsense", "moc={}", "moc=99/1"],
)
def test_a_place_that_is_none_is_refused(alice: Caller, query: str) -> None:
    assert alice.get(f"coverage/?{query}").status_code == 400
    if "moc" not in query:
        assert alice.get(f"lightcurve/?{query}").status_code == 400
    assert alice.get("lightcurve/?ra=1&dec=1&radius=1e9").status_code == 400


def test_where_nobody_may_be_asked_names_are_not_known(alice: Caller) -> None:
    answer = alice.get("resolve/?name=NGC 1275")
    assert answer.status_code == 400 and "offline" in answer.json["name"][0]
    assert alice.get("resolve/?name=49.95 41.51").status_code == 200
