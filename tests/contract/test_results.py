"""Does a client get what was measured, in every form, and nobody else's?"""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow.parquet as pq
import pytest
from astropy.io.votable import parse_single_table
from astropy.table import Table

from gateway.api import results
from gateway.followups.indexing import index
from skyrelay.imaging.votable import write_votable
from tests.support.gateway import Bench, Caller
from tests.support.measured import Field, measured_task

_SEEN = Field(
    objects=[(10.0, 20.0, 17.0), (10.1, 20.1, 18.0)],
    targets=[(10.0, 20.0, 17.01), (10.05, 20.05, None)],
    candidates=[(10.02, 20.02, 19.0), (10.03, 20.03, 19.5)],
)
_PARQUET = "application/vnd.apache.parquet"


def _rows(answer: Any, form: str) -> list[dict[str, Any]]:
    """The rows of a table in one of the forms, as plain values."""
    if form == "json":
        return list(answer.json["results"])
    if form == "csv":
        return list(csv.DictReader(io.StringIO(answer.text)))
    if form == "parquet":
        return list(pq.read_table(io.BytesIO(answer.data)).to_pylist())
    table = parse_single_table(io.BytesIO(answer.data)).to_table()
    return [dict(zip(row.colnames, row, strict=True)) for row in table]


def test_the_results_of_a_task_say_all_that_was_measured(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, _SEEN)
    found = alice.get(f"tasks/{task}/results/").json
    assert found["zero_point"] == {"value": 27.5, "error": 0.01, "unit": ""}
    assert found["mag_limit"]["value"] == 20.5
    assert found["fwhm_arcsec"]["value"] == 2.5
    assert (found["filter"], found["n_objects"]) == ("r", 2)
    assert found["mjd"] == pytest.approx(61042.5)
    first, second = found["targets"]
    assert (first["mag"], first["mag_error"], first["sn"]) == (17.01, 0.05, pytest.approx(10))
    assert (second["mag"], second["mag_limit"]) == (None, 20.5)
    assert [each["score"] for each in found["candidates"]] == [0.9, 0.1]
    assert found["unreadable"] == []
    cutout = found["candidates"][0]["cutout"]
    with alice.get(cutout.removeprefix("/api/")) as file:
        assert file.status_code == 200


def test_candidates_come_in_pages_the_brightest_first(
    bench: Bench, alice: Caller, eve: Caller
) -> None:
    magnitudes = (19.5, 19.0, None, 18.5)
    candidates = [(10.0 + n / 100, 20.0, mag) for n, mag in enumerate(magnitudes)]
    task = measured_task(bench, alice, Field(candidates=candidates))
    (bench.store.folder(task) / "candidates" / "J0003.unstack.png").write_bytes(b"png")
    (bench.store.folder(task) / "stack_frames.json").write_text("{}")
    page = alice.get(f"tasks/{task}/candidates/?step=subtraction&limit=3").json
    assert [row["mag"] for row in page["results"]] == [18.5, 19.0, 19.5]
    assert page["count"] == 4 and page["previous"] is None
    rest = alice.get(page["next"].partition("/api/")[2]).json
    assert [row["mag"] for row in rest["results"]] == [None]
    with alice.get(page["results"][0]["unstacked"].removeprefix("/api/")) as strip:
        assert strip.data == b"png"
    assert page["results"][1]["unstacked"] is None
    assert alice.get(page["results"][0]["picture"].removeprefix("/api/")).mimetype == "image/jpeg"
    likeliest = alice.get(f"tasks/{task}/candidates/?order=score").json["results"]
    assert [row["score"] for row in likeliest] == sorted(
        (row["score"] for row in likeliest), reverse=True
    )
    assert alice.get(f"tasks/{task}/candidates/?step=simple_transients").json["count"] == 0
    for wrong in ("step=inspect", "order=luck", "limit=0", "offset=-1"):
        assert alice.get(f"tasks/{task}/candidates/?{wrong}").status_code == 400
    assert eve.get(f"tasks/{task}/candidates/").status_code == 403
    assert eve.get("tasks/99/candidates/").status_code == 404


@pytest.mark.parametrize("form", ["json", "csv", "votable", "parquet"])
def test_results_of_all_tasks_come_in_every_form(bench: Bench, alice: Caller, form: str) -> None:
    tasks = [measured_task(bench, alice, _SEEN, name) for name in ("a.fits", "b.fits")]
    index(bench.gateway)
    for kind, count, name, value in (
        ("images", 2, "mag_limit", 20.5),
        ("targets", 4, "mag_limit", 20.5),
        ("candidates", 4, "mag", 19.5),
    ):
        answer = alice.get(f"results/?of={kind}&format={form}")
        assert answer.status_code == 200
        rows = _rows(answer, form)
        assert len(rows) == count
        assert {int(row["task"]) for row in rows} == set(tasks)
        assert float(rows[-1][name]) == pytest.approx(value)


def test_the_form_may_be_named_in_the_header(bench: Bench, alice: Caller) -> None:
    measured_task(bench, alice, _SEEN)
    index(bench.gateway)
    answer = alice.get("results/", headers={"Accept": _PARQUET})
    assert answer.mimetype == _PARQUET
    assert answer.headers["X-Total-Count"] == "1"
    assert alice.get("results/", headers={"Accept": "image/png"}).status_code == 406
    assert alice.get("results/?format=xls").status_code == 400


def test_results_are_filtered_and_paged(bench: Bench, alice: Caller) -> None:
    seen = [
        Field(filter="r", mag_limit=20.0, time="2026-01-01T00:00:00"),
        Field(filter="g", mag_limit=21.0, time="2026-02-01T00:00:00", candidates=[(10, 20, 18.0)]),
        Field(filter="g", mag_limit=19.0, time="2026-03-01T00:00:00"),
    ]
    tasks = [measured_task(bench, alice, each) for each in seen]
    index(bench.gateway)

    def found(query: str) -> list[int]:
        return [row["task"] for row in alice.get(f"results/?{query}").json["results"]]

    assert found("") == tasks[::-1]
    assert found("filter=g") == [tasks[2], tasks[1]]
    assert found("after=2026-01-15T00:00:00&before=61080") == [tasks[1]]
    assert found("deeper_than=20") == [tasks[1], tasks[0]]
    assert found("with_candidates=1") == [tasks[1]]
    assert found("of=candidates&least_score=0.95") == []
    page = alice.get("results/?limit=2").json
    assert (page["count"], len(page["results"])) == (3, 2)
    following = alice.get(page["next"].partition("/api/")[2]).json
    assert [row["task"] for row in following["results"]] == [tasks[0]]
    assert alice.get("results/?limit=0").status_code == 400
    assert alice.get("results/?after=yesterday").status_code == 400


def test_nobody_sees_results_of_tasks_that_are_not_for_them(
    bench: Bench, alice: Caller, bob: Caller, eve: Caller
) -> None:
    task = measured_task(bench, alice, _SEEN)
    index(bench.gateway)
    alice("PATCH", f"tasks/{task}/", json={"groups": ["observers"]})
    assert bob.get("results/").json["count"] == 1
    assert eve.get("results/").json["count"] == 0
    assert eve.get(f"tasks/{task}/results/").status_code == 403
    assert alice.get("tasks/999/results/").status_code == 404


def test_a_product_that_cannot_be_read_is_named_and_left_out(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, _SEEN)
    path = bench.store.path(task, "target.vot")
    path.unlink()
    path.write_text("<VOTABLE><nonsense")
    found = alice.get(f"tasks/{task}/results/").json
    assert found["unreadable"] == ["target.vot"]
    assert found["targets"] == []
    assert len(found["candidates"]) == 2


def test_a_small_file_with_very_many_rows_is_named_and_not_read(
    bench: Bench, alice: Caller
) -> None:
    task = measured_task(bench, alice, _SEEN)
    table = (
        b'<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="ra" datatype="double"/><DATA>'
        b"<TABLEDATA>" + b"<TR><TD>1</TD></TR>" * 20_000 + b"</TABLEDATA></DATA>"
        b"</TABLE></RESOURCE></VOTABLE>"
    )
    for name in ("target.vot", "candidates.vot"):
        form = {"file": (io.BytesIO(table), name)}
        assert alice.post(f"tasks/{task}/files/{name}", data=form).status_code == 201
    found = alice.get(f"tasks/{task}/results/").json
    assert sorted(found["unreadable"]) == ["candidates.vot", "target.vot"]
    assert (found["n_targets"], found["n_candidates"]) == (0, 0)
    index(bench.gateway)
    assert alice.get("results/?of=candidates").json["results"] == []


def test_long_results_of_a_task_come_in_pages(bench: Bench, alice: Caller) -> None:
    places = [(10.0, 20.0, 17.0 + number / 1000) for number in range(25)]
    task = measured_task(bench, alice, Field(targets=places, candidates=places[:12]))
    seen: list[float] = []
    path: str | None = f"/api/tasks/{task}/results/?limit=10"
    candidates = []
    while path is not None:
        page = alice.get(path.partition("/api/")[2]).json
        assert (page["n_targets"], page["n_candidates"]) == (25, 12)
        seen += [row["mag"] for row in page["targets"]]
        candidates.append(len(page["candidates"]))
        path = page["next"]
    assert seen == [place[2] for place in places]
    assert candidates == [10, 2, 0]
    rows = alice.get(f"tasks/{task}/results/?of=targets&limit=10&offset=20").json
    assert (rows["count"], len(rows["results"]), rows["next"]) == (25, 5, None)
    csv_page = alice.get(f"tasks/{task}/results/?of=targets&limit=10&format=csv")
    assert csv_page.headers["X-Total-Count"] == "25"
    assert len(_rows(csv_page, "csv")) == 10
    assert len(_rows(alice.get(f"tasks/{task}/results/?format=csv"), "csv")) == 25


def test_a_page_of_all_results_ends_before_it_is_too_long(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_MOST_ROWS", 5)
    tasks = [measured_task(bench, alice, _SEEN) for _ in range(3)]
    index(bench.gateway)
    first = alice.get("results/?of=targets").json
    assert {row["task"] for row in first["results"]} == set(tasks[1:])
    following = alice.get(first["next"].partition("/api/")[2]).json
    assert {row["task"] for row in following["results"]} == {tasks[0]}
    assert following["next"] is None


def test_what_no_column_holds_does_not_stop_the_index(bench: Bench, alice: Caller) -> None:
    task = measured_task(bench, alice, _SEEN)
    table = Table(
        {
            "ra": [10.0, 10.0, 1e300],
            "dec": [20.0, 500.0, 20.0],
            "mag_calib": [17.0, 17.0, 1e300],
            "mag_calib_err": [1e300, 0.1, 0.1],
            "flags": [-1.0, 1e300, 3.0],
        }
    )
    path = bench.store.path(task, "target.vot")
    path.unlink()
    write_votable(table, path)
    assert index(bench.gateway)
    found = alice.get("lightcurve/?ra=10&dec=20&limits=0").json["results"]
    assert [row["mag"] for row in found if row["source"] == "targets"] == [17.0]


def test_spreadsheets_do_not_carry_out_what_a_name_says(bench: Bench, alice: Caller) -> None:
    measured_task(bench, alice, _SEEN, name="=HYPERLINK(1)")
    index(bench.gateway)
    (row,) = _rows(alice.get("results/?format=csv"), "csv")
    assert row["original_name"] == "'=HYPERLINK(1)"
