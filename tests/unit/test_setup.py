"""Is a machine set up from full locks, and one that will not do refused politely?"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = sorted((PROJECT / "requirements").glob("*.lock"))

PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return dict(PIN.findall(lock.read_text()))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_version_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(blocks) == len(pins(lock)) > 10
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_all_locks_agree_on_the_versions(lock: Path) -> None:
    run = pins(PROJECT / "requirements" / "runtime.lock")
    different = {name: v for name, v in pins(lock).items() if run.get(name, v) != v}
    assert different == {}


def test_every_debian_package_has_a_purpose_and_a_reason() -> None:
    lines = (PROJECT / "requirements" / "debian.txt").read_text().splitlines()
    rows = [line.split("|") for line in lines if line and not line.startswith("#")]
    assert rows
    for package, purpose, reason in rows:
        assert package.strip()
        assert purpose.strip() in {"run", "test"}
        assert reason.strip()


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ('ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04 LTS"\n', "Ubuntu 24.04 LTS"),
        ('ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian 11"\n', "Debian 11"),
        ("", "an unknown system"),
    ],
)
def test_an_unsupported_system_is_told_in_one_sentence_what_is_needed(
    tmp_path: Path, system: str, name: str
) -> None:
    (tmp_path / "os-release").write_text(system)
    answer = subprocess.run(
        [PROJECT / "scripts" / "setup"],
        env={**os.environ, "SKYRELAY_OS_RELEASE": str(tmp_path / "os-release")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr == (
        "Skyrelay sets itself up on Debian 12 with Python 3.11, as root or with sudo; "
        f"this is {name} (the containers of docker-compose.yml run anywhere).\n"
    )
