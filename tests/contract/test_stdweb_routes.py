"""Does every route of STDWeb answer with its status codes, with and without its final slash?"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.api import preprocessing
from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

_FILE = b"a file"


@dataclass(frozen=True)
class Route:
    """A route: how it is called well, and what is answered; ``wrong`` is a body that is not taken.

    ``{task}``, ``{run}`` and ``{preset}`` stand for ids.
    """

    method: str
    path: str
    status: int = 200
    body: Any = None
    wrong: Any = None
    upload: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def call(self, caller: Caller, path: str) -> int:
        """Call it well; the status of the answer."""
        options: dict[str, Any] = {} if self.body is None else {"json": self.body}
        if self.upload:
            options = {"data": {"file": (io.BytesIO(_FILE), "a.fits")}}
        with caller(self.method, path, **options) as answer:
            return answer.status_code


_STEPS = {"steps": ["inspect"]}
ROUTES = [
    Route("GET", "tasks/"),
    Route("POST", "tasks/", 201, {"original_name": "a.fits"}, {"original_name": {}}),
    Route("GET", "tasks/{task}/"),
    Route("PATCH", "tasks/{task}/", body={"title": "a"}, wrong={"title": []}),
    Route("POST", "tasks/{task}/", body={"title": "a"}, wrong={"config": "a"}),
    Route("DELETE", "tasks/{task}/", 204),
    Route("GET", "tasks/{task}/state/"),
    Route("POST", "tasks/{task}/duplicate/", 201),
    Route("POST", "tasks/{task}/process/", body=_STEPS, wrong={"steps": 3}),
    Route("POST", "tasks/{task}/cancel/", 400),
    Route("POST", "tasks/{task}/fix/", 202),
    Route("POST", "tasks/{task}/crop/", 202, {"x1": 1}, {"x1": "a"}),
    Route("POST", "tasks/{task}/destripe/", 202, {"direction": "both"}, {"direction": 3}),
    Route("GET", "tasks/{task}/files/"),
    Route("GET", "tasks/{task}/files/image.fits"),
    Route("POST", "tasks/{task}/files/b.fits", 201, upload=True),
    Route("DELETE", "tasks/{task}/files/image.fits", 204),
    Route("GET", "tasks/{task}/preview/image.fits", 400),
    Route("GET", "tasks/{task}/cutout/image.fits", 400),
    Route("GET", "queue/"),
    Route("GET", "queue/{run}/"),
    Route("POST", "queue/{run}/terminate/"),
    Route("GET", "files/"),
    Route("GET", "files/a.fits"),
    Route("GET", "files/a.fits/preview/", 400),
    Route("GET", "presets/"),
    Route("GET", "presets/{preset}/"),
]
#: Of a run, everybody may know that it is there; nobody else may end it.
FOREIGN = [each for each in ROUTES if "{task}" in each.path or "terminate" in each.path]
WITH_ID = [each for each in ROUTES if "{" in each.path]
#: No method of HTTP that any of the routes takes.
_WRONG_METHOD = "TRACE"


def _ids(caller: Caller, preset: int) -> dict[str, Any]:
    """A task with an image, and the run of another."""
    task, other = caller.new_task(), caller.new_task()
    form = {"file": (io.BytesIO(_FILE), "a")}
    assert caller.post(f"tasks/{task}/files/image.fits", data=form).status_code == 201
    run = caller.post(f"tasks/{other}/process/", json=_STEPS).json["celery_id"]
    return {"task": task, "run": run, "preset": preset}


@pytest.fixture
def preset(bench: Bench, admin: Caller, monkeypatch: pytest.MonkeyPatch) -> int:
    """A preset, beside a file in the data folder; nobody waits for a run to end."""
    monkeypatch.setattr(preprocessing, "PATIENCE", 0.0)
    (bench.gateway.settings.data_path / "a.fits").write_bytes(_FILE)
    return int(admin.post("presets/", json={"name": "deep", "config": {}}).json["id"])


@pytest.mark.parametrize("slash", [True, False], ids=["slash", "no slash"])
def test_who_calls_it_well_is_answered(alice: Caller, preset: int, slash: bool) -> None:
    for route in ROUTES:
        path = route.path.format(**_ids(alice, preset))
        status = route.call(alice, path if slash else path.rstrip("/"))
        assert status == route.status, str(route)


def test_whoever_has_no_token_is_not_let_in(bench: Bench, alice: Caller, preset: int) -> None:
    ids, http = _ids(alice, preset), bench.app.test_client()
    for route in ROUTES:
        answer = http.open(f"/api/{route.path.format(**ids)}", method=route.method)
        assert answer.status_code == 401, str(route)


def test_another_method_is_not_taken(alice: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    for route in ROUTES:
        answer = alice(_WRONG_METHOD, route.path.format(**ids))
        assert answer.status_code == 405, str(route)
        assert route.method in answer.headers["Allow"]


def test_what_is_somebody_elses_is_forbidden(alice: Caller, eve: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    for route in FOREIGN:
        assert route.call(eve, route.path.format(**ids)) == 403, str(route)


@pytest.mark.parametrize("unknown", [4_711, 2**40])
def test_what_does_not_exist_is_not_found(alice: Caller, unknown: int) -> None:
    for route in WITH_ID:
        path = route.path.format(task=unknown, run=unknown, preset=unknown)
        assert route.call(alice, path) == 404, str(route)


def test_a_value_of_the_wrong_type_is_refused(alice: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    for route in ROUTES:
        if route.wrong is None:
            continue
        path = route.path.format(**ids)
        assert alice(route.method, path, json=route.wrong).status_code == 400, str(route)
        text = alice(route.method, path, data="x", content_type="text/plain")
        assert text.status_code == 415, str(route)


def test_reference_tables_are_open_to_all(bench: Bench) -> None:
    http = bench.app.test_client()
    for name in ("", "filters/", "catalogs/", "templates/"):
        for path in (f"/api/reference/{name}", f"/api/reference/{name}".rstrip("/")):
            assert http.get(path).status_code == 200
        assert http.post(f"/api/reference/{name}").status_code == 405
    assert http.get("/api/reference/other/").status_code == 404


def test_a_token_is_given_for_a_name_and_a_password_only(bench: Bench) -> None:
    http = bench.app.test_client()
    assert http.get("/api/auth/token/").status_code == 405
    for wrong in ({}, {"username": "alice"}, {"username": [], "password": {}}):
        for path in ("/api/auth/token/", "/api/auth/token"):
            assert http.post(path, json=wrong).status_code == 400
