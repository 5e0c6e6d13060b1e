"""Is Skyrelay an analysis service as SkyPortal knows them? Against a server that speaks its API.

The portal's side is that of SkyPortal: it posts what `call_external_analysis_service` posts, takes
an answer once per token, and reads the results and plots as its pages do.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from werkzeug.test import TestResponse

from gateway.followups import analyses, images
from gateway.followups.indexing import index
from gateway.models import Analysis, now
from skyrelay.messages import Outcome
from skyrelay.stages import INSPECT, PHOTOMETRY
from tests.support.gateway import PASSWORD, Bench, Caller, opened
from tests.support.measured import Field, measured_task

_OBJECT = "ZTF21aaqjmps"
_PNG = b"\x89PNG"


@dataclass
class Portal:
    """A SkyPortal with one object, whose analyses are awaited by their tokens."""

    url: str = ""
    failing: int = 0
    position: tuple[float, float] = (10.0, 20.0)
    awaited: set[str] = field(default_factory=set)
    calls: list[int] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    def question(self, token: str = "555ce6d4", **parameters: Any) -> dict[str, Any]:
        """What SkyPortal posts to the service; the answer is awaited from now on."""
        self.awaited.add(token)
        return {
            "callback_url": f"{self.url}/api/webhook/obj_analysis/{token}",
            "callback_method": "POST",
            "inputs": {
                "analysis_parameters": parameters,
                "photometry": "mjd,flux,fluxerr,mag,magerr,filter,magsys,zp,instrument_name\n",
                "redshift": "redshift,redshift_error,redshift_origin\n,,\n",
            },
            "invalid_after": str((now() + timedelta(hours=1)).replace(tzinfo=None)),
            "analysis_resource_type": "obj",
            "resource_id": _OBJECT,
            "analysis_parameters": {},
        }

    def take(self, path: str, body: dict[str, Any]) -> int:
        """The status with which SkyPortal answers a result."""
        token = path.rpartition("/")[2]
        if self.failing:
            return self.failing
        if not path.startswith("/api/webhook/obj_analysis/") or token not in self.awaited:
            return 403
        self.awaited.remove(token)
        self.results[token] = body
        return 200

    def find(self, path: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        """The answer about a source."""
        if authorization != "token secret":
            return 401, {"status": "error", "message": "Credentials malformed"}
        if path != f"/api/sources/{_OBJECT}":
            return 400, {"status": "error", "message": "Source not found"}
        ra, dec = self.position
        return 200, {"status": "success", "data": {"id": _OBJECT, "ra": ra, "dec": dec}}


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.calls.append(made.take(self.path, body))
            self._answer(made.calls[-1], {"status": "success"})

        def do_GET(self) -> None:
            if self.path.startswith("/images/"):
                made.fetched.append(self.path)
                path = self.path.partition("?")[0]
                statuses = {"/images/night.fits": 200, "/images/moved.fits": 302}
                self.send_response(made.failing or statuses.get(path, 404))
                self.send_header("Location", "/images/night.fits")
                self.end_headers()
                self.wfile.write(b"SIMPLE  = T")
                return
            self._answer(*made.find(self.path, self.headers["Authorization"]))

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(name="bench")
def a_bench_beside_a_portal(tmp_path: Path, database_url: str, portal: Portal) -> Iterator[Bench]:
    """A gateway that knows the portal and may call it, and tries twice more."""
    settings: dict[str, Any] = {
        "skyrelay_webhook_networks": "127.0.0.0/8",
        "skyrelay_webhook_delays": (0.0, 1000.0),
        "skyportal_base_url": portal.url,
        "skyportal_token": SecretStr("secret"),
    }
    with opened(tmp_path, database_url, **settings) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


def _ask(caller: Caller, question: dict[str, Any]) -> TestResponse:
    return caller.post("skyportal/analyses/", json=question)


def _answer(bench: Bench) -> None:
    while images.fetch(bench.gateway):
        pass
    while index(bench.gateway):
        pass
    while analyses.compose(bench.gateway):
        pass
    while analyses.deliver(bench.gateway):
        pass


def _photometry(answer: dict[str, Any]) -> list[dict[str, Any]]:
    results = answer["analysis"]["results"]
    assert results["format"] == "json"
    return list(results["data"]["photometry"])


def _night(day: int, mag: float | None) -> Field:
    objects = [(10.1, 20.1, 16.0)] + ([] if mag is None else [(10.0, 20.0, mag)])
    return Field(objects=objects, time=f"2026-01-{day:02d}T00:00:00")


def test_an_object_is_answered_with_its_light_curve_and_a_plot(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    for day, mag in ((2, 18.5), (1, 17.0), (3, None)):
        measured_task(bench, alice, _night(day, mag))
    begun = _ask(alice, portal.question())
    assert (begun.status_code, begun.json["status"]) == (200, "pending")
    _answer(bench)
    answer = portal.results["555ce6d4"]
    assert (answer["status"], answer["message"]) == (
        "success",
        '2 detections and 1 limits within 3"',
    )
    points = _photometry(answer)
    assert [point["mjd"] for point in points] == [61041.0, 61042.0, 61043.0]
    assert [point["mag"] for point in points] == [pytest.approx(17.0), pytest.approx(18.5), None]
    assert points[2]["limiting_mag"] == 20.5
    assert {(point["filter"], point["magsys"]) for point in points} == {("sdssr", "ab")}
    data = answer["analysis"]["results"]["data"]
    assert (data["object_id"], data["ra"], data["dec"]) == (_OBJECT, 10.0, 20.0)
    assert (data["filters"]["r"]["detections"], data["filters"]["r"]["first_mjd"]) == (2, 61041.0)
    (plot,) = answer["analysis"]["plots"]
    assert plot["format"] == "png"
    assert base64.b64decode(plot["data"]).startswith(_PNG)
    shown = alice.get(f"skyportal/analyses/{begun.json['id']}/").json
    assert (shown["state"], shown["tries"][0]["status"]) == ("delivered", 200)


def test_an_answer_holds_only_what_the_asking_user_may_see(
    bench: Bench, alice: Caller, eve: Caller, portal: Portal
) -> None:
    measured_task(bench, alice, _night(1, 17.0))
    begun = _ask(eve, portal.question(ra="10", dec="20"))
    _answer(bench)
    answer = portal.results["555ce6d4"]
    assert (answer["status"], _photometry(answer)) == ("success", [])
    assert "plots" not in answer["analysis"]
    assert alice.get(f"skyportal/analyses/{begun.json['id']}/").status_code == 403
    assert alice.get("skyportal/analyses/").json == []
    assert len(eve.get("skyportal/analyses/").json) == 1
    assert bench.app.test_client().post("/api/skyportal/analyses/", json={}).status_code == 401


def test_the_key_is_shown_in_each_way_that_skyportal_can_and_we_may(
    bench: Bench, alice: Caller, eve: Caller, portal: Portal
) -> None:
    """As its kinds header_token, HTTPBasicAuth and api_key."""
    http, question = bench.app.test_client(), portal.question(ra=10, dec=20)

    def status(**shown: Any) -> int:
        shown.setdefault("json", question)
        return http.post("/api/skyportal/analyses/", **shown).status_code

    assert status(headers={"Authorization": f"Token {alice.token}"}) == 200
    assert status(auth=("alice", alice.token)) == 200
    assert status(json=question | {"api_key": alice.token}) == 200
    assert len(alice.get("skyportal/analyses/").json) == 3
    for name, key in (("alice", eve.token), ("alice", PASSWORD), ("nobody", alice.token), ("", "")):
        assert status(auth=(name, key)) == 401
    for wrong in ("nothing", "", 3, None, [alice.token]):
        assert status(json=question | {"api_key": wrong}) == 401
    assert status(json=[alice.token]) == 400
    assert status(json=None, data={"api_key": alice.token}) == 401
    assert alice.token not in str(alice.get("skyportal/analyses/").json)


def test_other_routes_take_no_passwords(bench: Bench, alice: Caller) -> None:
    http = bench.app.test_client()
    assert http.get("/api/tasks/", auth=("alice", alice.token)).status_code == 401
    assert http.post("/api/tasks/", json={"api_key": alice.token}).status_code == 401


def test_an_image_that_comes_along_is_processed_first(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    content = base64.b64encode(b"SIMPLE  = T").decode()
    image = f"data:application/octet-stream;name=night.fits;base64,{content}"
    begun = _ask(alice, portal.question(image=image, steps="inspect"))
    task = begun.json["task"]
    about = alice.get(f"tasks/{task}/").json
    assert (about["state"], about["original_name"]) == ("running", "night.fits")
    assert about["config"]["target"] == "10.0 20.0"
    with alice.get(f"tasks/{task}/files/image.fits") as sent:
        assert sent.data == b"SIMPLE  = T"
    _answer(bench)
    assert portal.results == {}
    bench.hear(bench.finished(bench.command()))
    _answer(bench)
    answer = portal.results["555ce6d4"]
    assert answer["status"] == "success"
    assert answer["analysis"]["results"]["data"]["task"]["state"] == "inspect_done"


def test_an_image_is_fetched_from_an_address_after_the_answer(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    begun = _ask(alice, portal.question(image=f"{portal.url}/images/night.fits")).json
    about = alice.get(f"tasks/{begun['task']}/").json
    assert (about["state"], about["original_name"]) == ("initial", "night.fits")
    assert portal.fetched == []
    _answer(bench)
    assert portal.fetched == ["/images/night.fits"]
    with alice.get(f"tasks/{begun['task']}/files/image.fits") as sent:
        assert sent.data == b"SIMPLE  = T"
    shown = alice.get(f"skyportal/analyses/{begun['id']}/").json
    assert (shown["state"], shown["task"]) == ("waiting", begun["task"])
    for _ in (INSPECT, PHOTOMETRY):
        bench.hear(bench.finished(bench.command()))
    _answer(bench)
    answer = portal.results["555ce6d4"]
    assert answer["status"] == "success"
    assert answer["analysis"]["results"]["data"]["task"]["state"] == "photometry_done"
    assert portal.fetched == ["/images/night.fits"]


@pytest.mark.parametrize("name", ["none.fits", "moved.fits", "night.fits?large"])
def test_an_image_that_cannot_be_had_is_an_answer(
    bench: Bench, alice: Caller, portal: Portal, name: str
) -> None:
    few = bench.gateway.settings.model_copy(update={"skyrelay_max_upload": 10})
    object.__setattr__(bench.gateway, "settings", few)
    _ask(alice, portal.question(image=f"{portal.url}/images/{name}"))
    _answer(bench)
    answer = portal.results["555ce6d4"]
    reason = "larger than 10 bytes" if "large" in name else "it answered"
    assert answer["status"] == "failure" and reason in answer["message"]


def test_an_image_is_tried_again_while_its_server_is_away(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    begun = _ask(alice, portal.question(image=f"{portal.url}/images/night.fits")).json
    portal.failing = 503
    _answer(bench)
    # The second try was due at once, the third is due in a thousand seconds.
    assert len(portal.fetched) == 2
    shown = alice.get(f"skyportal/analyses/{begun['id']}/").json
    assert (shown["state"], shown["last_error"]) == ("fetching", "the image: it answered 503")
    assert shown["due"] is not None
    _change(bench, due=now())
    _answer(bench)
    assert (len(portal.fetched), portal.calls) == (3, [503, 503])
    assert alice.get(f"skyportal/analyses/{begun['id']}/").json["state"] == "pending"


def test_an_image_waits_for_room_without_being_fetched(
    bench: Bench, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    carol = bench.caller("carol", quota_runs=1)
    first = carol.new_task()
    assert carol.process(first, "inspect").status_code == 200
    task = _ask(carol, portal.question(image=f"{portal.url}/images/night.fits")).json["task"]
    _answer(bench)
    assert portal.fetched == []
    bench.hear(bench.finished(bench.command()))
    _change(bench, due=now())
    _answer(bench)
    assert carol.get(f"tasks/{task}/").json["state"] == "running"


def test_an_image_is_not_fetched_for_a_task_that_is_deleted_or_nobody_waits_for(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    image = f"{portal.url}/images/night.fits"
    task = _ask(alice, portal.question(image=image)).json["task"]
    alice("DELETE", f"tasks/{task}/")
    _answer(bench)
    assert "was deleted" in portal.results["555ce6d4"]["message"]
    late = _ask(alice, portal.question(image=image)).json["id"]
    _change(bench, expires=now() - timedelta(seconds=1))
    _answer(bench)
    assert alice.get(f"skyportal/analyses/{late}/").json["state"] == "failed"
    assert portal.fetched == []


def test_an_image_is_taken_once_whoever_fetches_it(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    """As by a process that was thought to be dead."""
    task = _ask(alice, portal.question(image=f"{portal.url}/images/night.fits")).json["task"]
    with bench.gateway.database.reading() as session:
        (analysis,) = session.query(Analysis).all()
    _answer(bench)
    run = alice.get(f"tasks/{task}/").json["celery_id"]
    for _ in range(2):
        images._try(bench.gateway, analysis)
        bench.hear(bench.finished(bench.command()))
    assert [each["id"] for each in alice.get(f"tasks/{task}/runs/").json] == [run]


def test_a_run_that_fails_is_told_with_its_reason(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    (bench.gateway.settings.data_path / "night.fits").write_bytes(b"SIMPLE  = T")
    _ask(alice, portal.question(local_file="night.fits"))
    command = bench.command()
    assert command.step == INSPECT.step
    bench.hear(bench.finished(command, Outcome.FAILED, "The image is broken."))
    _answer(bench)
    answer = portal.results["555ce6d4"]
    assert answer["status"] == "failure"
    assert "The image is broken." in answer["message"]


def test_a_task_that_is_deleted_leaves_a_refusal(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    (bench.gateway.settings.data_path / "night.fits").write_bytes(b"SIMPLE  = T")
    task = _ask(alice, portal.question(local_file="night.fits")).json["task"]
    alice("DELETE", f"tasks/{task}/")
    _answer(bench)
    assert portal.results["555ce6d4"]["status"] == "failure"


def test_an_answer_is_sent_again_while_the_portal_is_away(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    begun = _ask(alice, portal.question())
    portal.failing = 503
    _answer(bench)
    # The second try was due at once, the third is due in a thousand seconds.
    assert portal.calls == [503, 503]
    portal.failing = 0
    _change(bench, due=now())
    _answer(bench)
    assert portal.results["555ce6d4"]["status"] == "success"
    _answer(bench)
    assert portal.calls == [503, 503, 200]
    assert len(alice.get(f"skyportal/analyses/{begun.json['id']}/").json["tries"]) == 3


def test_an_answer_that_is_refused_or_too_late_is_not_sent_again(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    _ask(alice, portal.question())
    portal.awaited.clear()
    _answer(bench)
    _answer(bench)
    assert portal.calls == [403]
    _ask(alice, portal.question())
    _change(bench, expires=now() - timedelta(seconds=1))
    _answer(bench)
    assert portal.calls == [403]
    late, refused = alice.get("skyportal/analyses/").json
    assert (late["state"], refused["state"]) == ("failed", "failed")
    assert (late["last_error"], refused["last_error"]) == (
        "SkyPortal waits no longer",
        "it answered 403",
    )


def _change(bench: Bench, **values: Any) -> None:
    with bench.gateway.database.writing() as session:
        session.execute(update(Analysis).values(**values))


@pytest.mark.parametrize(
    "wrong",
    [
        {"callback_url": "http://10.0.0.1/"},
        {"callback_url": "http://169.254.169.254/latest"},
        {"callback_url": "file:///etc/passwd"},
        {"callback_url": ""},
        {"callback_method": "GET"},
        {"resource_id": ""},
        {"analysis_resource_type": "gcn"},
        {"invalid_after": "soon"},
        {"inputs": []},
        {"analysis_parameters": {"ra": 1}},
        {"analysis_parameters": {"ra": 1, "dec": 91}},
        {"analysis_parameters": {"radius": "1e9"}},
        {"analysis_parameters": {"model": "nugent-sn2p"}},
        {"analysis_parameters": {"preset": 1}},
        {"analysis_parameters": {"image": "http://169.254.169.254/image.fits"}},
        {"analysis_parameters": {"image": "data:;base64,?"}},
        {"analysis_parameters": {"local_file": "../../etc/passwd"}},
        {"analysis_parameters": {"local_file": {}}},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    bench: Bench, alice: Caller, portal: Portal, wrong: dict[str, Any]
) -> None:
    assert _ask(alice, portal.question() | wrong).status_code == 400
    assert alice.get("skyportal/analyses/").json == []
    assert alice.get("tasks/").json == []


def test_the_position_is_that_of_the_portal_or_of_the_parameters(
    bench: Bench, alice: Caller, portal: Portal
) -> None:
    unknown = portal.question() | {"resource_id": "a/../b"}
    assert _ask(alice, unknown).status_code == 502
    given = _ask(alice, unknown | {"analysis_parameters": {"ra": 1, "dec": 2}})
    shown = alice.get(f"skyportal/analyses/{given.json['id']}/").json
    assert (shown["ra"], shown["dec"]) == (1.0, 2.0)
