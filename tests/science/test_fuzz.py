"""Does every spoiled file end in a result or in a sentence, at a bounded cost?

`SKYRELAY_FUZZ_CASES` asks for more cases than the 500 of every day.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fuzzing import MOST_MEMORY
from tests.support.mutations import base_files, mutated
from tests.support.stages import run_stage

PROJECT = Path(__file__).resolve().parents[2]

#: Folders of real images, crops of which are spoiled too.
BASES = ("awkward", "decam_pair", "bulge_microlensing")
CASES = int(os.environ.get("SKYRELAY_FUZZ_CASES", "500"))
WORKERS = 2
#: Cases beyond the first ones that have found something once.
FOUND = (985, 1100, 1101, 1466, 2063, 2173, 2282)
#: Of the files that the inspection takes, so many per worker go on to the photometry.
PHOTOMETRY = CASES // 40
#: What a case may add to the memory that the science takes in any case.
BASELINE = 0.8e9


def test_every_spoiled_file_ends_in_a_result_or_a_sentence(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    bases = [str(shared_data(name)) for name in BASES]
    answers = run_cases(tmp_path, bases)
    assert len(answers) == CASES
    wrong = {case: fault for case, answer in answers.items() if (fault := fault_of(answer))}
    assert not wrong, f"{len(wrong)} of {CASES}: {wrong}"
    outcomes = [answer["results"][0][1] for answer in answers.values()]
    # Of the spoiled files some are usable and some are not, or nothing was tried here.
    assert 0.15 < outcomes.count("failed") / CASES < 0.85


def fault_of(answer: dict[str, Any]) -> str | None:
    """What is wrong with how a case ended; None if nothing is."""
    if "died" in answer:
        return f"the process died: {answer['died']}"
    if answer["memory"] > BASELINE + MOST_MEMORY:
        return f"{answer['memory'] / 1e9:.1f} GB"
    for step, outcome, reasons, traceback in answer["results"]:
        if outcome not in ("done", "degraded", "failed"):
            return f"{step} ended as {outcome}"
        if (outcome == "done") == bool(reasons):
            return f"{step} {outcome} with {reasons}"
        for reason in reasons:
            if traceback or "Internal error" in reason or "memory" in reason:
                return f"{step}: {reason}"
            if not reason.endswith(".") or "\n" in reason:
                return f"{step}: no sentence: {reason!r}"
    return None


def run_cases(folder: Path, bases: list[str]) -> dict[int, dict[str, Any]]:
    """The answer to each case, from workers side by side; one that dies is followed by another."""
    answers: dict[int, dict[str, Any]] = {}
    running = [start(folder, first, bases) for first in range(WORKERS)]
    try:
        while running:
            begun, died = collect(running[0], answers)
            running.pop(0)
            if died is not None:
                answers[begun] = {"died": died}
                running.append(start(folder, begun + WORKERS, bases))
    finally:
        for worker in running:
            worker.kill()
            worker.communicate()
    return answers


def collect(
    worker: subprocess.Popen[str], answers: dict[int, dict[str, Any]]
) -> tuple[int, str | None]:
    """Take the answers of a worker; its last case, and how it died there if it did."""
    output, errors = worker.communicate(timeout=3600)
    begun = None
    for line in output.splitlines():
        content = json.loads(line)
        begun = content["case"]
        if "results" in content:
            answers[begun] = content
    assert begun is not None, errors
    return begun, f"code {worker.returncode} {errors[-300:]}" if worker.returncode else None


def start(folder: Path, first: int, bases: list[str]) -> subprocess.Popen[str]:
    numbers = map(str, (first, CASES, WORKERS, PHOTOMETRY))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fuzzing", str(folder), *numbers, *bases],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_once_went_wrong_does_so_no_more(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    bases = base_files([shared_data(name) for name in BASES])
    for number in FOUND:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "image.fits").write_bytes(mutated(number, bases))
        result = run_stage("inspect", tmp_path / str(number), {"target": "x=20 y=30"})
        answer = ["inspect", result.outcome, result.reasons, False]
        assert fault_of({"memory": 0, "results": [answer]}) is None, number


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"died": "code -14"}, "died"),
        ({"memory": 9e9, "results": []}, "9.0 GB"),
        (
            {"memory": 0, "results": [["inspect", "failed", ["Internal error in x"], 0]]},
            "Internal",
        ),
        ({"memory": 0, "results": [["inspect", "failed", ["no end"], 0]]}, "no sentence"),
        ({"memory": 0, "results": [["inspect", "failed", [], 0]]}, "with"),
        ({"memory": 0, "results": [["inspect", "failed", ["It is broken."], 0]]}, None),
    ],
)
def test_a_fault_would_be_seen(answer: dict[str, Any], fault: str | None) -> None:
    found = fault_of(answer)
    assert found is None if fault is None else found is not None and fault in found
