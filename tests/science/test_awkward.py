"""Is every awkward file processed, or refused with one clear sentence, at a bounded cost?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]

#: Bytes of memory that no file may need, stdpipe's imports included.
MOST_MEMORY = 1.5e9

#: What inspection must find out about each file.
EXPECTED: dict[str, dict[str, Any]] = {
    "DES_r.fits": {"filter": "r", "has_wcs": True, "gain": 21.139},
    "M51.8.Color.fits": {"has_wcs": False, "width": 973, "height": 874},
    "M6707HH.fits": {"has_wcs": False, "time": "1951-11-29T12:07:00.000"},
    "PS1_r.fits": {"filter": "r", "has_wcs": True},
    "SDSS_r.fits": {"filter": "r", "has_wcs": True, "time": "2003-08-21T09:42:14.970"},
    "SN2019so_20190201_B.fits.gz": {
        "filter": "B",
        "has_wcs": True,
        "time": "2019-02-02T06:58:30.133",
    },
    "SN2019so_20190201_V.fits.gz": {"filter": "V", "has_wcs": True},
    "m13_gzip.fits": {"has_wcs": True, "width": 300},
    "m13_hcomp.fits": {"has_wcs": True, "width": 300},
    "m13_plio.fits": {"has_wcs": True, "width": 300},
    "m13_rice.fits": {"has_wcs": True, "width": 300},
    "nocdelt.fits": {"has_wcs": True, "width": 125},
    "panstarrs-g-m61.fits": {"has_wcs": True, "width": 500},
    "vimos.fits": {"filter": "V", "has_wcs": False, "width": 880},
}

#: Runs inspection, then photometry against a small local catalogue of another field, on every
#: folder, one after the other in one process: its largest memory is that of the worst file.
SCRIPT = """
import json, re, resource, sys
from pathlib import Path
from tests.support.stages import run_stage

for folder in map(Path, sys.argv[1:]):
    config = {"cat_name": "local", "cat_file": "stars.csv", "blind_match_wcs": False}
    results = {}
    for step in ("inspect", "photometry"):
        result = run_stage(step, folder, config)
        config = result.config
        values = {name: value.value for name, value in result.values.items()}
        results[step] = [result.outcome, result.reasons, values]
    # What getrusage tells of this process itself begins with the memory of the one that forked it.
    own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    results["memory"] = 1024 * max(own, children)
    (folder / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture(scope="module")
def folders(
    shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Folders of the tasks by the name of the file, after both stages."""
    base = tmp_path_factory.mktemp("awkward")
    folders = {name: base / name for name in EXPECTED}
    for name, folder in folders.items():
        folder.mkdir()
        shutil.copyfile(shared_data("awkward") / name, folder / "image.fits")
        (folder / "stars.csv").write_text("ra,dec,rmag,e_rmag\n10.0,20.0,15.0,0.01\n")
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, folders.values())],
        capture_output=True, text=True, timeout=500, cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return folders


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_awkward_file_is_processed_or_refused_in_one_sentence(
    name: str, folders: dict[str, Path]
) -> None:
    results = json.loads((folders[name] / "results.json").read_text())
    outcome, reasons, values = results["inspect"]
    assert outcome == "done", reasons
    for key, expected in EXPECTED[name].items():
        approximate = isinstance(expected, float)
        assert values[key] == (pytest.approx(expected, rel=1e-4) if approximate else expected)
    outcome, reasons, _ = results["photometry"]
    # The catalogue is of another field; without a WCS there are pixels and instrumental magnitudes.
    assert outcome == "failed" or (outcome == "degraded" and not values["has_wcs"])
    assert_is_a_clear_sentence(reasons)
    for log in ("inspect.log", "photometry.log"):
        assert "Traceback" not in (folders[name] / log).read_text()
    assert results["memory"] < MOST_MEMORY


def assert_is_a_clear_sentence(reasons: list[str]) -> None:
    """One line, with an end, that no programming error wrote."""
    assert len(reasons) == 1
    assert reasons[0].endswith(".")
    assert "\n" not in reasons[0]
    assert "Internal error" not in reasons[0]
