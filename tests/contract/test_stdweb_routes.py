"""Does every route of STDWeb answer with its status codes and its errors, however it is called?"""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.api import preprocessing
from gateway.models import User
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

    def call(self, caller: Caller, path: str, **more: Any) -> tuple[int, Any]:
        """Call it well; the status of the answer, and its body where that is JSON."""
        options: dict[str, Any] = {} if self.body is None else {"json": self.body}
        if self.upload:
            options = {"data": {"file": (io.BytesIO(_FILE), "a.fits")}}
        with caller(self.method, path, **options, **more) as answer:
            return answer.status_code, answer.json if answer.is_json else None


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
        status, _ = route.call(alice, path if slash else path.rstrip("/"))
        assert status == route.status, str(route)


def test_whoever_has_no_token_is_not_let_in(bench: Bench, alice: Caller, preset: int) -> None:
    ids, http = _ids(alice, preset), bench.app.test_client()
    for route in ROUTES:
        url = f"/api/{route.path.format(**ids)}"
        for headers, sentence in (
            ({}, "Authentication credentials were not provided."),
            ({"Authorization": "Token wrong"}, "Invalid token."),
        ):
            answer = http.open(url, method=route.method, headers=headers)
            assert (answer.status_code, answer.json) == (401, {"detail": sentence}), str(route)
            assert answer.headers["WWW-Authenticate"] == "Token"


def test_another_method_is_not_taken(alice: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    for route in ROUTES:
        answer = alice(_WRONG_METHOD, route.path.format(**ids))
        assert answer.status_code == 405, str(route)
        assert answer.json == {"detail": f'Method "{_WRONG_METHOD}" not allowed.'}
        assert route.method in answer.headers["Allow"]


def test_what_is_somebody_elses_is_forbidden(alice: Caller, eve: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    for route in FOREIGN:
        answer = route.call(eve, route.path.format(**ids))
        assert answer == (403, {"error": "Permission denied"}), str(route)


@pytest.mark.parametrize("unknown", [4_711, 2**40])
def test_what_does_not_exist_is_not_found(alice: Caller, preset: int, unknown: int) -> None:
    for route in WITH_ID:
        path = route.path.format(task=unknown, run=unknown, preset=unknown)
        assert route.call(alice, path) == (404, {"detail": "Not found."}), str(route)


@pytest.mark.parametrize("name", ["none.fits", "..%2f..%2fimage.fits", "folder"])
def test_a_file_that_is_not_there_is_not_found(
    bench: Bench, alice: Caller, preset: int, name: str
) -> None:
    ids = _ids(alice, preset)
    for what in ("files", "preview", "cutout"):
        if name == "folder":
            (bench.store.folder(ids["task"]) / name).mkdir(exist_ok=True)
        answer = alice.get(f"tasks/{ids['task']}/{what}/{name}")
        assert (answer.status_code, answer.json) == (404, {"detail": "Not found."})
    if name != "folder":
        answer = alice("DELETE", f"tasks/{ids['task']}/files/{name}")
        assert (answer.status_code, answer.json) == (404, {"detail": "Not found."})
        for path in (f"files/{name}", f"files/{name}/preview/"):
            assert alice.get(path).json == {"detail": "Not found."}


def test_a_task_without_an_image_has_none_to_be_changed(alice: Caller, preset: int) -> None:
    empty = alice.new_task()
    for what in ("fix", "crop", "destripe"):
        answer = alice.post(f"tasks/{empty}/{what}/")
        assert (answer.status_code, answer.json) == (404, {"error": "Image file not found"})


def test_a_value_of_the_wrong_type_is_refused(alice: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    for route in ROUTES:
        if route.wrong is None:
            continue
        path = route.path.format(**ids)
        wrong = alice(route.method, path, json=route.wrong)
        assert wrong.status_code == 400, str(route)
        if "process" in path:
            assert wrong.json["error"] == "Invalid step: 3"
        else:
            assert list(wrong.json) == list(route.wrong)
            assert all(isinstance(said, list) for said in wrong.json.values())
        text = alice(route.method, path, data="x", content_type="text/plain")
        assert text.status_code == 415, str(route)
        assert text.json == {"detail": 'Unsupported media type "text/plain" in request.'}


def test_what_is_wrong_with_a_run_is_said_in_stdwebs_words(alice: Caller) -> None:
    task = alice.new_task()
    for body, sentence in (
        ({}, "No steps provided"),
        ({"steps": []}, "No steps provided"),
        ({"steps": ["dance"]}, "Invalid step: dance"),
        (_STEPS | {"config": "{'sn': 3}"}, "Cannot parse config as JSON"),
        (_STEPS | {"config": [1]}, "config must be a JSON object"),
    ):
        answer = alice.post(f"tasks/{task}/process/", json=body)
        assert (answer.status_code, answer.json["error"]) == (400, sentence)
        # What to do about it stands beside it.
        assert "No steps" in sentence or answer.json["advice"]
    stopped = alice.post(f"tasks/{task}/cancel/")
    assert (stopped.status_code, stopped.json) == (400, {"error": "Task is not running"})
    no_file = alice.post(f"tasks/{task}/files/a.fits", data={})
    assert (no_file.status_code, no_file.json) == (400, {"error": "No file provided"})
    assert "simple_transients" in alice.post(
        f"tasks/{task}/process/", json={"steps": ["dance"]}
    ).json["advice"]  # fmt: skip


def test_a_task_that_is_processed_is_left_alone(alice: Caller, preset: int) -> None:
    task = _ids(alice, preset)["task"]
    assert alice.post(f"tasks/{task}/process/", json=_STEPS).status_code == 200
    refused = {}
    for route in ROUTES:
        ends_it = str(route) in ("DELETE tasks/{task}/", "POST tasks/{task}/cancel/")
        if "{task}" in route.path and route.method != "GET" and not ends_it:
            status, body = route.call(alice, route.path.format(task=task))
            if status == 409:
                refused[str(route)] = body
    assert refused.keys() == {
        f"{method} tasks/{{task}}/{rest}"
        for method, rest in (
            ("POST", "process/"),
            ("POST", "fix/"),
            ("POST", "crop/"),
            ("POST", "destripe/"),
            ("POST", "files/b.fits"),
            ("DELETE", "files/image.fits"),
        )
    }
    for route, body in refused.items():
        assert list(body) == ["error"]
        assert body["error"].startswith("Task is already processing"), route
    config = alice("PATCH", f"tasks/{task}/", json={"config": {}})
    assert config.status_code == 409 and list(config.json) == ["error"]


def test_a_body_that_is_too_large_is_refused(bench: Bench, alice: Caller, preset: int) -> None:
    ids = _ids(alice, preset)
    bench.app.config["MAX_CONTENT_LENGTH"] = 1000
    for route in ROUTES:
        if route.body is None and not route.upload:
            continue
        options: dict[str, Any] = {"json": {"title": "a" * 2000}}
        if route.upload:
            options = {"data": {"file": (io.BytesIO(b"a" * 2000), "a.fits")}}
        answer = alice(route.method, route.path.format(**ids), **options)
        expected = {"detail": "The upload is larger than this server accepts."}
        assert (answer.status_code, answer.json) == (413, expected), str(route)


def test_a_range_that_a_file_does_not_have_is_refused(alice: Caller, preset: int) -> None:
    task = _ids(alice, preset)["task"]
    for path in (f"tasks/{task}/files/image.fits", "files/a.fits"):
        answer = alice.get(path, headers={"Range": "bytes=1000-"})
        assert answer.status_code == 416 and list(answer.json) == ["detail"]
        assert answer.headers["Content-Range"] == f"bytes */{len(_FILE)}"
        with alice.get(path, headers={"Range": "bytes=2-3"}) as part:
            assert (part.status_code, part.data) == (206, _FILE[2:4])


def test_whoever_has_as_much_as_may_be_gets_no_more(bench: Bench, preset: int) -> None:
    carol = bench.caller("carol", quota_tasks=2)
    task = carol.new_task()
    form = {"file": (io.BytesIO(_FILE), "a")}
    assert carol.post(f"tasks/{task}/files/image.fits", data=form).status_code == 201
    assert carol.post(f"tasks/{carol.new_task()}/process/", json=_STEPS).status_code == 200
    with bench.gateway.database.writing() as session:
        session.query(User).filter_by(username="carol").update({"quota_runs": 1})
    refused = set()
    for route in ROUTES:
        if route.method == "POST":
            status, body = route.call(carol, route.path.format(task=task, run="a", preset=1))
            if status == 429:
                assert list(body) == ["detail"] and "quota" in body["detail"]
                refused.add(route.path)
    ending = {"", "{task}/duplicate/", "{task}/process/", "{task}/fix/", "{task}/crop/"}
    assert refused == {f"tasks/{path}" for path in ending | {"{task}/destripe/"}}


def test_where_the_disk_is_full_nothing_is_changed(
    bench: Bench, alice: Caller, preset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _ids(alice, preset)

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(bench.gateway.database), "writing", full)
    for route in ROUTES:
        if route.method == "GET" or "terminate" in route.path:
            continue
        status, body = route.call(alice, route.path.format(**ids))
        assert (status, list(body)) == (507, ["detail"]), str(route)


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
