"""Does the script that runs the tiers of tests come to an end, and say how each of them went?"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

#: Stands for Python: each tier goes in a way of its own.
_PYTHON = """#!/bin/sh
case "$*" in
*tests/passes*) exit 0 ;;
*tests/fails*) exit 1 ;;
*tests/hangs*) exec sleep 600 ;;
esac
exit 9
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script, in a project of nothing else."""
    for folder in ("scripts", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    return Path(shutil.copy(PROJECT / "scripts/test", tmp_path / "scripts"))


def test_a_tier_that_hangs_is_ended_and_the_others_are_run(script: Path) -> None:
    command = [script, "passes", "hangs", "fails", "passes"]
    done = subprocess.run(
        command, env=os.environ | {"TIER_SECONDS": "1"}, capture_output=True, text=True
    )
    summary = [line.split()[:2] for line in done.stdout.partition("Summary")[2].splitlines()[1:]]
    assert summary == [
        ["passes", "passed"],
        ["hangs", "ENDED"],
        ["fails", "FAILED"],
        ["passes", "passed"],
        ["all", "FAILED"],
    ]
    assert "The tier hangs was ended: it took more than 1 s" in done.stdout
    assert done.returncode == 1


def test_all_tiers_passed(script: Path) -> None:
    done = subprocess.run([script, "passes"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
