"""What do texts do that were written to do harm: in paths, queries, headers, names of files?"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from gateway.api import preprocessing
from gateway.openapi.pages import document
from skyrelay.store.inputs import find_input
from tests.support.gateway import Bench, Caller
from tests.support.strings import places

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.long,
]

TEXTS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "a\0b",
    "a\r\nSet-Cookie: sessionid=1",
    "'; DROP TABLE tasks; --",
    "%' OR '1'='1",
    "$(touch /tmp/owned)",
    "`id`",
    "{{ 7 * 7 }}{% raw %}",
    "<script>alert(1)</script>",
    "9" * 400,
    "x" * 5000,
    "\u202egnp.exe",
    "\ud800",
]


@pytest.fixture
def filled(bench: Bench, alice: Caller) -> tuple[Bench, Caller, int]:
    """A task with a file, beside the data of nobody."""
    (bench.gateway.settings.data_path.parent / "secret.fits").write_text("a secret")
    task = alice.new_task()
    alice.post(f"tasks/{task}/files/image.fits", data={"file": (io.BytesIO(b"image"), "a")})
    return bench, alice, task


@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_text_is_a_text_or_refused(filled: tuple[Bench, Caller, int], text: str) -> None:
    _bench, alice, task = filled
    path = text.encode("utf-8", "replace").decode()
    answers = [
        alice.get(f"tasks/{task}/files/{path}"),
        alice("DELETE", f"tasks/{task}/files/{path}"),
        *(alice.get("tasks/", query_string={name: path}) for name in ("query", "state", "user")),
        alice.get("tasks/", query_string={"limit": path, "offset": path}),
        alice.post("tasks/", json={"original_name": text, "title": text}),
        alice.post("tasks/", json={"local_file": text}),
        alice.post("tasks/", json={"original_name": "a", "groups": [text], "preset": text}),
        alice("PATCH", f"tasks/{task}/", json={"title": text}),
        alice.post("tokens/", json={"name": text, "expires": text}),
        alice("PATCH", "user/", json={"first_name": text}),
        alice.post(f"tasks/{task}/process/", json={"steps": [text], "priority": text}),
    ]
    for answer in answers:
        assert answer.status_code < 500, (answer.request.path, answer.data)
        assert "Set-Cookie" not in answer.headers
        assert b"root:" not in answer.data and b"a secret" not in answer.data
    # Nothing was lost by it, and answers are never taken for pages.
    with alice.get(f"tasks/{task}/files/image.fits") as kept:
        assert kept.data == b"image"
    listed = alice.get("tasks/")
    assert task in [each["id"] for each in listed.json]
    assert listed.headers["X-Content-Type-Options"] == "nosniff"
    assert listed.mimetype == "application/json"


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_at_any_place_of_any_request_does_harm(
    filled: tuple[Bench, Caller, int], admin: Caller, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The places are those of the API's own description: new routes are in by themselves."""
    monkeypatch.setattr(preprocessing, "PATIENCE", 0.0)
    bench, alice, task = filled
    victim = bench.caller("victim")
    ids = {
        "task_id": task,
        "user_id": victim.get("user/").json["id"],
        "preset_id": admin.post("presets/", json={"name": "a", "config": {}}).json["id"],
    }
    tried = set()
    for place in places(document(bench.app)):
        path, options = place.request(text, ids)
        with admin(place.method, path, **options) as answer:
            assert answer.status_code < 500 or answer.status_code in (502, 503), str(place)
            injected = answer.headers.getlist("Set-Cookie")
            assert not any(each.startswith("sessionid=1") for each in injected), str(place)
            if answer.mimetype != "text/event-stream":
                assert b"root:" not in answer.data and b"a secret" not in answer.data, str(place)
        tried |= {(place.where, name) for name in place.name.split()}
    assert not Path("/tmp/owned").exists()
    assert {("body", "folder"), ("query", "query"), ("path", "step"), ("header", "Last-Event-ID"),
            ("body", "username"), ("config", "cat_file"), ("query", "cmap"), ("file", "file"),
            ("header", "X-Forwarded-For")} <= tried  # fmt: skip
    assert alice.get(f"tasks/{task}/").status_code == 200


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1.fits", 'a".fits', "../../../a.fits", "ä\u202e.fits"]
)
def test_the_name_of_an_upload_is_only_a_name(bench: Bench, alice: Caller, name: str) -> None:
    made = alice.post("tasks/", data={"file": (io.BytesIO(b"x"), name)})
    assert made.status_code < 500
    if made.status_code == 201:
        assert "/" not in made.json["original_name"]
        with alice.get(f"tasks/{made.json['id']}/files/image.fits") as answer:
            assert "X-Evil" not in answer.headers and answer.data == b"x"
    outside = [path.name for path in bench.store.root.parent.iterdir()]
    assert "a.fits" not in outside


@pytest.mark.parametrize("name", ["../secret.fits", "link.fits", "folder/../../secret.fits"])
def test_no_file_outside_the_data_folder_becomes_an_image(
    filled: tuple[Bench, Caller, int], name: str
) -> None:
    bench, alice, _ = filled
    data = bench.gateway.settings.data_path
    (data / "folder").mkdir()
    (data / "link.fits").symlink_to(data.parent / "secret.fits")
    assert alice.post("tasks/", json={"local_file": name}).status_code == 400


def test_a_link_in_a_task_leads_nowhere(filled: tuple[Bench, Caller, int]) -> None:
    bench, alice, task = filled
    link = bench.store.folder(task).resolve() / "link"
    link.symlink_to(bench.gateway.settings.data_path.parent / "secret.fits")
    assert alice.get(f"tasks/{task}/files/link").status_code == 404
    copy = alice.post(f"tasks/{task}/duplicate/").json["id"]
    assert alice.get(f"tasks/{copy}/files/link").status_code == 404


@pytest.mark.parametrize(
    "path", ["tasks/99999999999999999999/", "tasks/-1/", "users/99999999999/", "tokens/4294967296/"]
)
def test_a_number_that_is_too_large_is_no_error_of_ours(admin: Caller, path: str) -> None:
    answer: Any = admin.http.get(f"/api/{path}", headers={"Authorization": f"Token {admin.token}"})
    assert answer.status_code in (404, 405)


def test_an_image_of_another_is_not_stacked(filled: tuple[Bench, Caller, int], eve: Caller) -> None:
    _, _, task = filled
    own = eve.new_task()
    config = {"stack_filenames": [f"tasks/{task}/image.fits", f"tasks/{own}/image.fits"]}
    body = {"steps": ["stack"], "config": config}
    assert eve.post(f"tasks/{own}/process/", json=body).status_code == 403


_OUTSIDE = [
    "/etc/passwd",
    "../secret.fits",
    "night/../../secret.fits",
    "link.fits",
    "tasks/1/../../secret.fits",
    "TASKS/../secret.fits",
    "TASKS/1/../../secret.fits",
    "TASKS/.versions/1-0/image.fits",
]


@pytest.mark.parametrize("name", _OUTSIDE)
@pytest.mark.parametrize("parameter", ["stack_filenames", "cat_file"])
def test_a_file_outside_the_data_folder_is_refused_before_anything_runs(
    filled: tuple[Bench, Caller, int], parameter: str, name: str
) -> None:
    bench, alice, task = filled
    data = bench.gateway.settings.data_path
    (data / "link.fits").symlink_to(data.parent / "secret.fits")
    name = name.replace("TASKS", str(bench.gateway.settings.tasks_path))
    value: Any = name if parameter == "cat_file" else [name, "a.fits"]
    config = {parameter: value, "cat_name": "local"}
    steps = ["stack", "photometry"]
    for path, body in (
        (f"tasks/{task}/process/", {"steps": steps, "config": config}),
        ("tasks/", {"original_name": "a", "steps": steps, "config": config}),
        ("batches/", {"files": ["b.fits"], "steps": steps, "config": config}),
    ):
        (data / "b.fits").write_bytes(b"image")
        answer = alice.post(path, json=body)
        assert answer.status_code == 400 and list(answer.json) == [parameter], path
    if parameter == "cat_file":
        action = {"action": "photometry", **config}
        assert alice.post(f"tasks/{task}/action/", json=action).status_code == 400
    # What is in the configuration already is looked at just so.
    other = alice.new_task(config=config)
    assert alice.post(f"tasks/{other}/process/", json={"steps": steps}).status_code == 400
    assert bench.commands() == []


def test_files_of_tasks_may_be_named_in_whole_with_the_same_rights(
    filled: tuple[Bench, Caller, int], eve: Caller
) -> None:
    bench, alice, task = filled
    name = f"{bench.gateway.settings.tasks_path}/{task}/image.fits"
    data = f"{bench.gateway.settings.data_path}/a.fits"
    body = {"steps": ["stack"], "config": {"stack_filenames": [name, data]}}
    refused = eve.post(f"tasks/{eve.new_task()}/process/", json=body)
    assert (refused.status_code, refused.json) == (
        403,
        {
            "error": "Permission denied",
            "stack_filenames": [f"Task {task} is not shared with you."],
        },
    )
    assert alice.post(f"tasks/{task}/process/", json=body).status_code == 200
    assert find_input(name, bench.gateway.settings).read_bytes() == b"image"


@pytest.mark.parametrize(
    ("step", "config"),
    [
        ("stack", {"stack_filenames": ["tasks/4711/a.fits", "b.fits"]}),
        ("simple_transients", {"simple_others": [4711]}),
    ],
)
def test_another_task_that_is_not_there_is_named(
    alice: Caller, step: str, config: dict[str, Any]
) -> None:
    body = {"steps": [step], "config": config}
    answer = alice.post(f"tasks/{alice.new_task()}/process/", json=body)
    said = {"detail": "Not found.", next(iter(config)): ["Task 4711 does not exist."]}
    assert (answer.status_code, answer.json) == (404, said)


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "\u0663"])
def test_a_number_of_a_task_in_a_name_may_be_anything(alice: Caller, number: str) -> None:
    config = {"stack_filenames": [f"tasks/{number}/a.fits", "b.fits"]}
    body = {"steps": ["stack"], "config": config}
    assert alice.post(f"tasks/{alice.new_task()}/process/", json=body).status_code in (
        200,
        400,
        403,
        404,
    )
