"""How do the files of a task come, go and stay where they belong?"""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.support.gateway import Bench, Caller
from tests.support.mounts import unmounted


def _form(content: bytes, name: str = "x.fits") -> dict[str, Any]:
    return {"data": {"file": (io.BytesIO(content), name)}}


def test_a_file_comes_back_as_it_was_sent(alice: Caller) -> None:
    task = alice.new_task()
    sent = alice.post(f"tasks/{task}/files/custom_template.fits", **_form(b"template"))
    assert (sent.status_code, sent.json) == (201, {"path": "custom_template.fits", "size": 8})
    (entry,) = alice.get(f"tasks/{task}/files").json
    assert set(entry) == {"name", "path", "size", "modified", "is_dir"}
    assert (entry["name"], entry["size"], entry["is_dir"]) == ("custom_template.fits", 8, False)
    back = alice.get(f"tasks/{task}/files/custom_template.fits")
    assert back.data == b"template"
    assert back.headers["Content-Disposition"] == "attachment; filename=custom_template.fits"
    assert back.headers["X-Content-Type-Options"] == "nosniff"
    back.close()


def test_a_range_of_a_file_can_be_asked_for(alice: Caller) -> None:
    task = alice.new_task()
    alice.post(f"tasks/{task}/files/a.fits", **_form(b"0123456789"))
    with alice.get(f"tasks/{task}/files/a.fits", headers={"Range": "bytes=2-4"}) as part:
        assert (part.status_code, part.data) == (206, b"234")
        assert part.headers["Content-Range"] == "bytes 2-4/10"
        tag = part.headers["ETag"]
    with alice.get(f"tasks/{task}/files/a.fits", headers={"If-None-Match": tag}) as same:
        assert same.status_code == 304
    with alice.get(f"tasks/{task}/files/a.fits", headers={"Range": "bytes=20-"}) as past:
        assert past.status_code == 416


def test_folders_are_made_listed_and_removed(alice: Caller) -> None:
    task = alice.new_task()
    assert alice.post(f"tasks/{task}/files/cal/flat/r.fits", **_form(b"flat")).status_code == 201
    (entry,) = alice.get(f"tasks/{task}/files/").json
    assert (entry["name"], entry["is_dir"]) == ("cal", True)
    assert alice.get(f"tasks/{task}/files/cal").status_code == 404
    with alice.get(f"tasks/{task}/files/cal/flat/r.fits") as answer:
        assert answer.data == b"flat"
    assert alice("DELETE", f"tasks/{task}/files/cal").status_code == 204
    assert alice.get(f"tasks/{task}/files/").json == []
    assert alice("DELETE", f"tasks/{task}/files/cal").status_code == 404


def test_a_new_upload_replaces_the_old_file(alice: Caller) -> None:
    task = alice.new_task()
    for content in (b"first", b"second"):
        alice.post(f"tasks/{task}/files/image.fits", **_form(content))
    with alice.get(f"tasks/{task}/files/image.fits") as answer:
        assert answer.data == b"second"


def test_an_upload_without_a_file_is_refused(alice: Caller) -> None:
    task = alice.new_task()
    empty = alice.post(f"tasks/{task}/files/a.fits", data={"other": "x"})
    assert (empty.status_code, empty.json) == (400, {"error": "No file provided"})
    wrong = alice.post(f"tasks/{task}/files/a.fits", json={"file": "x"})
    assert wrong.status_code == 415


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "path",
    [
        "../2/image.fits",
        "..%2f..%2fgateway.db",
        "%2e%2e/x",
        "a/../../x",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "link/passwd",
        ".skyrelay-attempt.json",
        "a%00b",
        "a%0ab",
        "x" * 300,
        "/".join(["deep"] * 300),
        "nothing.fits",
    ],
)
def test_no_path_leads_out_of_the_task(bench: Bench, alice: Caller, path: str) -> None:
    task = alice.new_task()
    (bench.store.folder(task) / "link").symlink_to("/etc")
    for method in ("GET", "DELETE"):
        assert alice(method, f"tasks/{task}/files/{path}").status_code == 404
    if path != "nothing.fits":
        sent = alice.post(f"tasks/{task}/files/{path}", **_form(b"x"))
        assert sent.status_code == 404
    assert list((bench.store.root / ".incoming").iterdir()) == []


def test_a_file_does_not_take_the_place_of_a_folder(alice: Caller) -> None:
    task = alice.new_task()
    alice.post(f"tasks/{task}/files/folder/a.fits", **_form(b"x"))
    alice.post(f"tasks/{task}/files/plain", **_form(b"x"))
    assert alice.post(f"tasks/{task}/files/folder", **_form(b"x")).status_code == 400
    assert alice.post(f"tasks/{task}/files/plain/b", **_form(b"x")).status_code == 400


def test_files_stay_as_they_are_while_the_task_is_processed(alice: Caller) -> None:
    task = alice.new_task()
    alice.post(f"tasks/{task}/files/image.fits", **_form(b"image"))
    alice.process(task, "inspect")
    assert alice.post(f"tasks/{task}/files/image.fits", **_form(b"other")).status_code == 409
    assert alice("DELETE", f"tasks/{task}/files/image.fits").status_code == 409
    with alice.get(f"tasks/{task}/files/image.fits") as answer:
        assert answer.data == b"image"


def test_whoever_needs_files_is_told_to_come_back_while_their_store_is_away(
    bench: Bench, alice: Caller
) -> None:
    task = alice.new_task()
    with unmounted(bench.store.root):
        for answer in (
            alice.post("tasks/", **_form(b"image")),
            alice.process(task, "inspect"),
            alice.get(f"tasks/{task}/files/"),
            alice("DELETE", f"tasks/{task}/"),
        ):
            assert answer.status_code == 503, answer.json
            assert answer.headers["Retry-After"]
            assert "out of reach" in answer.json["detail"]
    assert alice.get(f"tasks/{task}/files/").status_code == 200
