"""Which folder does the command line work in, and what does it find there?"""

from __future__ import annotations

from pathlib import Path

import pytest

from skyrelay.cli.local.folder import WorkFolder, folder_for
from skyrelay.errors import Permanent


@pytest.mark.parametrize(
    ("image", "base", "stack", "folder"),
    [
        ("night/m31.fits", None, False, "night/m31"),
        ("night/other/../m31.fits", None, False, "night/m31"),
        ("night/m31.FIT", None, False, "night/m31"),
        ("night/m31.fits.gz", None, False, "night/m31"),
        ("night/m31.r.fits.fz", None, False, "night/m31.r"),
        ("night/m31/image.fits", None, False, "night/m31"),
        ("night/m31.fits", "out", False, "out/m31"),
        ("night/image.fits", "out", False, "out/image"),
        ("night/m31.fits", None, True, "night/m31_stack"),
        ("night/image.fits", None, True, "night/image_stack"),
        ("night/plain", None, False, "night/plain.skyrelay"),
    ],
)
def test_the_folder_is_named_after_the_image(
    tmp_path: Path, image: str, base: str | None, stack: bool, folder: str
) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "plain").write_text("an image without a suffix")
    found = folder_for(tmp_path / image, tmp_path / base if base else None, stack=stack)
    assert found == tmp_path / folder


def test_the_configuration_is_found_again(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "m31")
    folder.prepare(None)
    assert folder.read_config() == {}
    folder.write_config({"sn": 4.0, "note": "x"})
    assert folder.read_config() == {"sn": 4.0, "note": "x"}


@pytest.mark.parametrize("content", ["{", "[1]", '{"sn": "many"}', "\xff\x00"])
def test_a_configuration_that_somebody_broke_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / ".config").write_bytes(content.encode("latin-1"))
    with pytest.raises(Permanent, match=r"\.config"):
        WorkFolder(tmp_path).read_config()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Permanent, match="file"):
        WorkFolder(tmp_path / "file" / "m31").prepare(None)
