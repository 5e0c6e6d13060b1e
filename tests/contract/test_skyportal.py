"""What does SkyPortal get of a task, and who may send it? Against a server that speaks its API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from astropy.table import Table

from skyrelay.imaging.votable import write_votable
from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

CONFIG = {"time": "2026-03-01 00:00:00", "target_ra": 150.0, "target_dec": 2.0}


@dataclass
class Portal:
    """A SkyPortal with one source, which is found from ``radius`` degrees on."""

    radius: float = 1 / 60
    refusal: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if (method, path) == ("GET", "/api/instrument"):
            return [
                {"id": 2, "name": "Zwicky", "type": "imager"},
                {"id": 1, "name": "Alpha", "type": "imager"},
                {"id": 3, "name": "Prism", "type": "spectrograph"},
            ]
        if (method, path) == ("GET", "/api/sources"):
            self.asked.append(query)
            near = float(query["radius"]) >= self.radius
            return {"sources": [{"id": "SN2026abc"}] if near else [], "totalMatches": int(near)}
        assert (method, path) == ("PUT", "/api/photometry")
        self.stored.append(body)
        return {"ids": [len(self.stored)], "upload_id": "x"}


@pytest.fixture
def portal(bench: Bench) -> Iterator[Portal]:
    made = Portal()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content: dict[str, Any]
            if self.headers.get("Authorization") != "token secret":
                content, status = {"status": "error", "message": "Credentials malformed"}, 401
            elif made.refusal and self.command == "PUT":
                content, status = {"status": "error", "message": made.refusal}, 400
            else:
                body = json.loads(sent) if sent else None
                data = made.answer(self.command, url.path, dict(parse_qsl(url.query)), body)
                content, status = {"status": "success", "data": data}, 200
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = _do

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    configure(bench, made.url)
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def configure(bench: Bench, url: str) -> None:
    from pydantic import SecretStr

    known = {
        "skyportal_base_url": url,
        "skyportal_token": SecretStr("secret"),
        "skyportal_group_id": 3,
    }
    object.__setattr__(bench.gateway, "settings", bench.gateway.settings.model_copy(update=known))


@pytest.fixture
def carol(bench: Bench) -> Caller:
    """A user who may upload to SkyPortal."""
    return bench.caller("carol", skyportal_upload=True)


def measured(bench: Bench, caller: Caller, name: str = "target.vot", **values: Any) -> int:
    task = caller.new_task(config=CONFIG)
    row = {
        "ra": 150.0001,
        "dec": 2.0001,
        "mag_calib": 18.25,
        "mag_calib_err": 0.05,
        "mag_limit": 20.5,
        "mag_filter_name": "rmag",
    } | values
    table = Table({key: [value] for key, value in row.items()})
    write_votable(table, bench.store.folder(task) / name)
    return task


def send(caller: Caller, ids: Any, **more: Any) -> list[dict[str, Any]]:
    answer = caller.post("skyportal/upload/", json={"ids": ids, "instrument": 1} | more)
    assert answer.status_code == 200, answer.json
    found: list[dict[str, Any]] = answer.json
    return found


def test_a_measurement_reaches_the_source_that_is_nearest(
    bench: Bench, portal: Portal, carol: Caller
) -> None:
    task = measured(bench, carol)
    (looked,) = send(carol, str(task), preview=True)
    assert looked["status"] == "preview" and portal.stored == []
    radii = [float(query["radius"]) for query in portal.asked]
    assert radii == [10 / 3600, 30 / 3600, 1 / 60]
    assert {query["group_ids"] for query in portal.asked} == {"3"}
    (sent,) = send(carol, str(task))
    assert sent["status"] == "success"
    assert portal.stored == [
        {
            "obj_id": "SN2026abc",
            "instrument_id": 1,
            "mjd": 61100.0,
            "mag": 18.25,
            "magerr": 0.05,
            "limiting_mag": 20.5,
            "magsys": "ab",
            "filter": "sdssr",
            "ra": 150.0,
            "dec": 2.0,
            "origin": "stdview",
            "altdata": {"stdview": task},
            "group_ids": [3],
        }
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "system"),
    [
        ("BPmag", "gaia::gbp", "ab"),
        ("RPmag", "gaia::grp", "ab"),
        ("Gmag", "gaia::g", "ab"),
        ("Vmag", "bessellv", "vega"),
        ("Ksmag", "2massks", "vega"),
    ],
)
def test_bands_have_the_names_of_skyportal(
    bench: Bench, portal: Portal, carol: Caller, ours: str, theirs: str, system: str
) -> None:
    (sent,) = send(carol, measured(bench, carol, mag_filter_name=ours))
    assert (sent["photometry"]["filter"], sent["photometry"]["magsys"]) == (theirs, system)


def test_what_is_uncertain_is_told_as_a_limit(bench: Bench, portal: Portal, carol: Caller) -> None:
    sure, unsure = measured(bench, carol), measured(bench, carol, mag_calib_err=0.34)
    unknown = measured(bench, carol, mag_calib=float("nan"))
    for sent in send(carol, [unsure, unknown]) + send(carol, sure, limit_only=True):
        assert sent["photometry"]["mag"] is sent["photometry"]["magerr"] is None
        assert sent["photometry"]["limiting_mag"] == 20.5


def test_the_difference_image_is_better_where_there_is_one(
    bench: Bench, portal: Portal, carol: Caller
) -> None:
    both = measured(bench, carol)
    table = Table.read(bench.store.folder(both) / "target.vot", format="votable")
    table["mag_calib"] = 19.0
    write_votable(table, bench.store.folder(both) / "sub_target.vot")
    only = measured(bench, carol)
    (best,), (direct,) = send(carol, both), send(carol, both, type="direct")
    assert (best["photometry"]["mag"], direct["photometry"]["mag"]) == (19.0, 18.25)
    (missing,) = send(carol, only, type="subtracted")
    assert missing["status"] == "error"


def test_only_those_who_may_see_a_task_send_it_and_only_those_who_may_send(
    bench: Bench, portal: Portal, carol: Caller, alice: Caller
) -> None:
    foreign, own = measured(bench, alice), measured(bench, carol)
    assert alice.post("skyportal/upload/", json={"ids": foreign}).status_code == 403
    assert alice.get("skyportal/instruments/").status_code == 403
    answers = send(carol, f"{foreign}, {own} 999999")
    assert [answer["status"] for answer in answers] == ["error", "success", "error"]
    assert answers[0]["error"] == "Permission denied"
    assert [stored["altdata"] for stored in portal.stored] == [{"stdview": own}]


def test_the_task_may_say_which_instrument_it_is_from(
    bench: Bench, portal: Portal, carol: Caller
) -> None:
    known = carol.get("skyportal/instruments/").json[0]
    task = measured(bench, carol)
    body = {"ids": task}
    for said, error in (
        (None, "Name an instrument, or set skyportal_instrument_name of the task."),
        ("No Such Camera", "SkyPortal knows no imager No Such Camera."),
        (known["name"], None),
    ):
        config = CONFIG if said is None else CONFIG | {"skyportal_instrument_name": said}
        carol("PATCH", f"tasks/{task}/", json={"config": config})
        (answer,) = carol.post("skyportal/upload/", json=body).json
        assert answer.get("error") == error
    assert [stored["instrument_id"] for stored in portal.stored] == [known["id"]]


def test_what_has_arrived_at_skyportal_is_remembered_whatever_comes_after(
    bench: Bench, portal: Portal, carol: Caller, admin: Caller
) -> None:
    task, broken = measured(bench, carol), carol.new_task(config=CONFIG)
    (bench.store.folder(broken) / "target.vot").write_bytes(b"no table")
    send(carol, [task, broken])
    (entry,) = admin.get("audit/?action=skyportal_upload").json["results"]
    assert (entry["user"], entry["task"]) == ("carol", task)
    assert (entry["details"]["source"], entry["details"]["instrument"]) == ("SN2026abc", 1)


def test_what_skyportal_refuses_is_said_and_keeps_no_other(
    bench: Bench, portal: Portal, carol: Caller
) -> None:
    portal.refusal = "Invalid instrument"
    (answer,) = send(carol, measured(bench, carol))
    assert answer["error"] == "SkyPortal refuses: Invalid instrument"
    portal.radius = 1.0
    (answer,) = send(carol, measured(bench, carol))
    assert "no source" in answer["error"]
    untimed = carol.new_task(config={"cat_col_mag": "rmag", "mag_limit": 20.0})
    (answer,) = send(carol, untimed)
    assert answer["status"] == "error"


def test_instruments_are_those_that_take_images(portal: Portal, carol: Caller) -> None:
    names = [each["name"] for each in carol.get("skyportal/instruments/").json]
    assert names == ["Alpha", "Zwicky"]


@pytest.mark.parametrize(
    "body",
    [
        {"ids": "", "instrument": 1},
        {"ids": "1;DROP TABLE tasks", "instrument": 1},
        {"ids": "1-100000", "instrument": 1},
        {"ids": "99999999999", "instrument": 1},
        {"ids": "1", "instrument": 1, "type": "worst"},
    ],
)
def test_an_upload_that_makes_no_sense_is_refused(
    portal: Portal, carol: Caller, body: dict[str, Any]
) -> None:
    assert carol.post("skyportal/upload/", json=body).status_code == 400


def test_a_portal_that_is_away_is_told_of(bench: Bench, carol: Caller) -> None:
    assert carol.get("skyportal/instruments/").status_code == 404
    configure(bench, "http://127.0.0.1:9")
    assert carol.get("skyportal/instruments/").status_code == 502
