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
touch "$TMPDIR/left"
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
    for folder in ("scripts", ".venv/bin", "temporary"):
        (tmp_path / folder).mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    return Path(shutil.copy(PROJECT / "scripts/test", tmp_path / "scripts"))


def test_a_tier_that_hangs_is_ended_and_the_others_are_run(script: Path) -> None:
    done = _run(script, "passes", "hangs", "fails", "passes", TIER_SECONDS="1")
    *summary, kept = done.stdout.partition("Summary")[2].splitlines()[1:]
    assert [line.split()[:2] for line in summary] == [
        ["passes", "passed"],
        ["hangs", "ENDED"],
        ["fails", "FAILED"],
        ["passes", "passed"],
        ["all", "FAILED"],
    ]
    assert "The tier hangs was ended: it took more than 1 s" in done.stdout
    assert done.returncode == 1
    # For whoever looks for the cause.
    assert (Path(kept.split()[-1]) / "left").exists()


def test_tiers_that_passed_leave_nothing_among_temporary_files(script: Path) -> None:
    done = _run(script, "passes")
    assert done.returncode == 0, done.stdout
    assert list(_temporary(script).iterdir()) == []


def _temporary(script: Path) -> Path:
    return script.parents[1] / "temporary"


def _run(script: Path, *tiers: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(_temporary(script))} | environment
    return subprocess.run([script, *tiers], env=environment, capture_output=True, text=True)
