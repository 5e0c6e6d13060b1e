"""What can be seen of the data folder, and nothing beyond it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gateway import Bench, Caller

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


def test_only_users_see_it(data: Path, bench: Bench) -> None:
    assert bench.app.test_client().get("/api/files/").status_code == 401
