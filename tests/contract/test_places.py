"""Can a client say a place on the sky as astronomers do, and find the tasks that lie there?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from gateway.api import places
from gateway.followups.indexing import index
from skyrelay.synthetic import FieldSpec
from tests.sky.heavens import Heavens
from tests.sky.server import Fault, SkyServer
from tests.support.gateway import Bench, Caller, opened
from tests.support.measured import Field, measured_task

M31 = (10.68470833, 41.26875)


@pytest.fixture(scope="module")
def sky() -> Iterator[SkyServer]:
    """A server that knows one galaxy and one transient."""
    heavens = Heavens(
        FieldSpec(seed=11, size=64),
        names={"m31": M31},
        transients={"at2023lxx": (123.456, -45.678)},
    )
    with SkyServer(heavens) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, database_url: str, sky: SkyServer) -> Iterator[Bench]:
    """A gateway that asks this server for names."""
    sky.mend()
    addresses = {f"skyrelay_{name}_urls": sky.url(name) for name in ("sesame", "transients")}
    with opened(tmp_path, database_url, **addresses) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


def located(bench: Bench, caller: Caller, ra: float, dec: float, name: str = "image.fits") -> int:
    task = measured_task(bench, caller, Field(ra=ra, dec=dec), name)
    index(bench.gateway)
    return task


def covering(caller: Caller, **query: Any) -> list[dict[str, Any]]:
    answer = caller.get("coverage/", query_string=query)
    assert answer.status_code == 200, answer.json
    found: list[dict[str, Any]] = answer.json["results"]
    return found


@pytest.mark.parametrize(
    ("said", "ra", "dec", "radius"),
    [
        ("m 31", *M31, None),
        ("AT 2023lxx", 123.456, -45.678, None),
        ("150.1 2.2", 150.1, 2.2, None),
        ("150.1 2.2 0.5", 150.1, 2.2, 0.5),
        ("10 41 0.5", 10.0, 41.0, 0.5),
        ("10:00:00 -02:30:00", 150.0, -2.5, None),
        ("10 00 00.0 -02 30 00 0.25", 150.0, -2.5, 0.25),
        ("10h00m00s, -2d30m00s", 150.0, -2.5, None),
    ],
)
def test_places_are_said_in_any_notation_or_by_name(
    alice: Caller, said: str, ra: float, dec: float, radius: float | None
) -> None:
    answer = alice.get("resolve/", query_string={"name": said})
    assert answer.json == {
        "name": said,
        "ra": pytest.approx(ra),
        "dec": pytest.approx(dec),
        "radius": radius,
    }


def test_a_name_is_looked_up_once(alice: Caller, sky: SkyServer) -> None:
    for _ in range(3):
        assert alice.get("resolve/?name=m31").status_code == 200
    assert sky.count()["sesame"] == 1


def test_what_nobody_knows_is_said(alice: Caller, sky: SkyServer) -> None:
    answer = alice.get("resolve/?name=NGC 99999")
    assert answer.status_code == 400 and "unknown" in answer.json["name"][0]
    for wrong in ("", "?name=", "?name=100 95", "?name=10 20 999", f"?name={'x' * 300}"):
        assert alice.get(f"resolve/{wrong}").status_code == 400
    sky.fail("sesame", Fault.ERROR)
    answer = alice.get("resolve/?name=NGC 1275")
    assert answer.status_code == 502 and "does not answer" in answer.json["error"]


def test_who_asks_for_anything_else_is_answered_while_names_are_looked_up(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PATIENCE", 0.01)
    with places._AT_ONCE, places._AT_ONCE, places._AT_ONCE:
        refused = alice.get("resolve/?name=m31")
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
        assert alice.get("resolve/?name=10 20").status_code == 200
    assert alice.get("resolve/?name=m31").status_code == 200


def test_names_that_are_looked_up_leave_threads_for_others(
    tmp_path: Path, database_url: str, sky: SkyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PATIENCE", 3600.0)
    sky.mend()
    addresses = {"skyrelay_sesame_urls": sky.url("sesame")}
    with opened(tmp_path, database_url, skyrelay_web_threads=3, **addresses) as gateway:
        bench = Bench(gateway)
        callers = [bench.caller(name) for name in ("alice", "bob")]
        with ThreadPoolExecutor(2) as pool:
            with places._AT_ONCE, places._AT_ONCE, places._AT_ONCE:
                answers = [pool.submit(each.get, "resolve/?name=m31") for each in callers]
                first, _ = wait(answers, 60.0, FIRST_COMPLETED)
            assert [answer.result().status_code for answer in first] == [503]
            assert sorted(answer.result().status_code for answer in answers) == [200, 503]
        bench.close()


def test_tasks_are_found_at_a_place(bench: Bench, alice: Caller, bob: Caller) -> None:
    here, there = located(bench, alice, *M31), located(bench, alice, 150.0, 2.0)
    for place in ({"position": "m31"}, {"position": "10.68 41.27"}, {"ra": 10.68, "dec": 41.27}):
        assert [row["id"] for row in covering(alice, **place)] == [here]
    # Half a degree beside the image, so that only a circle reaches it.
    assert covering(alice, position="150 2.6") == []
    assert [row["id"] for row in covering(alice, position="150 2.6 0.4")] == [there]
    assert [row["id"] for row in covering(alice, position="150 2.6", radius=0.4)] == [there]
    assert covering(alice, position="150 2.6 0.3") == []
    assert [row["id"] for row in covering(alice, position="80 20 90")] == [there, here]
    assert covering(bob, position="m31") == []


def test_rows_say_where_an_image_lies_and_who_shares_it(bench: Bench, alice: Caller) -> None:
    task = alice.new_task("m31.fits", groups=["observers"])
    measured = {"target": "M 31\nM 32", "filter": "r", "mag_limit": 20.5}
    bench.run(alice, task, "inspect", field=Field(*M31).sky, config=measured)
    index(bench.gateway)
    (row,) = covering(alice, position="m31")
    assert row.pop("share") == 1.0
    assert row == alice.get("tasks/?details=1&limit=10").json["results"][0]
    assert (row["ra"], row["dec"]) == pytest.approx(M31)
    assert row["radius"] == pytest.approx(0.352, abs=0.001)
    assert row["pixel_scale"] == pytest.approx(0.0025)
    assert {name: row[name] for name in measured} == measured
    assert (row["groups"], row["user"]) == (["observers"], "alice")


def test_details_that_are_none_are_left_out(bench: Bench, alice: Caller) -> None:
    said = {"mag_limit": "deep", "target": None, "filter": "r"}
    bench.run(alice, alice.new_task(), "inspect", config=said)
    (row,) = alice.get("tasks/?details=1&limit=10").json["results"]
    assert (row["mag_limit"], row["target"], row["filter"]) == (None, "", "r")
    assert (row["groups"], row["ra"]) == ([], None)
    for limit in ("", "&limit=0", "&limit=100000"):
        assert alice.get(f"tasks/?details=1{limit}").status_code == 400


def test_pages_of_a_place_follow_each_other(bench: Bench, alice: Caller) -> None:
    tasks = [located(bench, alice, *M31) for _ in range(3)]
    first = alice.get("coverage/?position=m31&limit=2").json
    assert [row["id"] for row in first["results"]] == [tasks[2], tasks[1]]
    assert (first["more"], first["next"]) == (True, tasks[1])
    last = alice.get(f"coverage/?position=m31&limit=2&before={first['next']}").json
    assert [row["id"] for row in last["results"]] == [tasks[0]]
    assert (last["more"], last["next"]) == (False, None)


def test_a_light_curve_is_had_by_name(bench: Bench, alice: Caller) -> None:
    seen = Field(*M31, objects=[(*M31, 17.0)])
    measured_task(bench, alice, seen)
    index(bench.gateway)
    answer = alice.get("lightcurve/?position=m31&radius=5")
    assert [point["mag"] for point in answer.json["results"]] == [17.0]
    for filters, count in (("query=image", 1), ("query=other", 0), ("user=bob", 0)):
        for route in ("lightcurve", "coverage"):
            answer = alice.get(f"{route}/?position=m31&{filters}")
            assert len(answer.json["results"]) == count
    assert alice.get("lightcurve/?position=nowhere at all").status_code == 400
    assert alice.get("lightcurve/").status_code == 400


def test_a_map_shows_where_tasks_lie(bench: Bench, alice: Caller, eve: Caller) -> None:
    tasks = [located(bench, alice, 10.0 * n, 20.0, f"night{n}.fits") for n in range(3)]
    alice.new_task("nowhere.fits")
    located(bench, eve, 40.0, 20.0)
    whole = alice.get("skymap/").json
    assert [row["id"] for row in whole["results"]] == tasks[::-1] and whole["next"] is None
    assert "moc" not in whole["results"][0]
    first = alice.get("skymap/?limit=2&include_moc=1").json
    assert [row["ra"] for row in first["results"]] == pytest.approx([20.0, 10.0])
    assert first["results"][0]["moc"] and first["next"] == tasks[1]
    (last,) = alice.get(f"skymap/?limit=2&before={first['next']}").json["results"]
    assert last["id"] == tasks[0]
    (found,) = alice.get("skymap/?query=night1&state=photometry_done&user=alice").json["results"]
    assert found["id"] == tasks[1]
    for wrong in ("limit=0", "limit=9999", "include_moc=1&limit=501", "before=x"):
        assert alice.get(f"skymap/?{wrong}").status_code == 400
