"""What can be seen of the data folder, and nothing beyond it?"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Bench, Caller, opened

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def data(bench: Bench) -> Path:
    """The data folder with some files."""
    root = bench.gateway.settings.data_path
    (root / "night1").mkdir()
    (root / "night1" / "a.fits").write_bytes(b"0123456789")
    for name in ("b.txt", "C.txt", ".hidden"):
        (root / name).write_text(name)
    (root / "out").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    return root


def test_a_folder_is_listed_with_folders_first(data: Path, alice: Caller) -> None:
    listing = alice.get("files/").json
    assert [(entry["name"], entry["is_dir"]) for entry in listing] == [
        ("night1", True),
        ("b.txt", False),
        ("C.txt", False),
    ]
    (entry,) = alice.get("files/night1/").json
    assert (entry["path"], entry["size"]) == ("night1/a.fits", 10)
    assert alice.get("files/night1").json == [entry]


def test_a_listing_is_sorted_as_wanted(data: Path, alice: Caller) -> None:
    (data / "b.txt").write_text("much longer")
    for number, name in enumerate(("C.txt", "b.txt")):
        os.utime(data / name, (1e9 + number, 1e9 + number))
    for order, names in {
        "name": ["b.txt", "C.txt"],
        "-name": ["C.txt", "b.txt"],
        "modified": ["C.txt", "b.txt"],
        "-modified": ["b.txt", "C.txt"],
        "size": ["C.txt", "b.txt"],
    }.items():
        listing = alice.get(f"files/?order={order}").json
        assert [entry["name"] for entry in listing] == ["night1", *names]
    assert alice.get("files/?order=colour").status_code == 400


def test_a_file_is_sent_whole_or_in_part(data: Path, alice: Caller) -> None:
    with alice.get("files/night1/a.fits") as whole:
        assert whole.data == b"0123456789"
        assert "attachment" in whole.headers["Content-Disposition"]
    with alice.get("files/night1/a.fits", headers={"Range": "bytes=2-4"}) as part:
        assert (part.status_code, part.data) == (206, b"234")


@pytest.mark.parametrize(
    "path",
    ["nothing", "night1/x", "../gateway.db", "%2e%2e/gateway.db", "out/passwd", "/etc/passwd",
     "%2fetc%2fpasswd", "loop", ".hidden", "a%00b", "x" * 300, "night1/a.fits/x"],
)  # fmt: skip
def test_nothing_beyond_the_folder_is_found(data: Path, alice: Caller, path: str) -> None:
    assert alice.get(f"files/{path}").status_code == 404
    assert alice.get(f"files/{path}/preview/").status_code == 404


@pytest.fixture
def nested(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """A gateway whose tasks lie in its data folder."""
    folder = tmp_path / "data" / "tasks"
    with opened(tmp_path, database_url, tasks_path=folder) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


def test_tasks_in_the_data_folder_are_not_seen_through_it(nested: Bench) -> None:
    alice, eve = nested.caller("alice"), nested.caller("eve", is_staff=True)
    data = nested.gateway.settings.data_path
    sent = alice.post("tasks/", data={"file": (io.BytesIO(b"SIMPLE a secret"), "s.fits")})
    task = sent.json["id"]
    image = nested.store.path(task, "image.fits")
    (data / "folder").symlink_to(image.parent)
    (data / "link.fits").symlink_to(image)
    version = image.resolve().parent.relative_to(data.resolve())
    assert eve.get("files/").json == []
    for folder in ("tasks", f"tasks/{task}", "tasks/.versions", str(version), "folder"):
        assert eve.get(f"files/{folder}/").status_code == 404
        for kind in ("batches/", "watches/"):
            refused = eve.post(kind, json={"folder": folder})
            assert refused.status_code == 400 and b"s.fits" not in refused.data
    preset = {"name": "a", "config": {}}
    for file in (f"tasks/{task}/image.fits", f"{version}/image.fits", "folder/image.fits",
                 "link.fits", f"folder/../tasks/{task}/image.fits"):  # fmt: skip
        assert eve.get(f"files/{file}").status_code == 404
        assert eve.get(f"files/{file}/preview/").status_code == 404
        assert eve.post("tasks/", json={"local_file": file}).status_code == 400
        assert eve.post("tasks/", json={"local_file": file, "ext": 0}).status_code == 400
        assert eve.post("tasks/upload/", json={"local_file": file}).status_code >= 400
        assert eve.post("batches/", json={"files": [file]}).status_code == 400
        assert eve.post("presets/", json=preset | {"files": [file]}).status_code == 400


def test_only_users_see_it(data: Path, bench: Bench) -> None:
    assert bench.app.test_client().get("/api/files/").status_code == 401
