"""What do texts do that were written to do harm: in paths, queries, headers, names of files?"""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

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
