"""How does a process of its own take spoiled files through the stages, within bounds?

    python -m tests.support.fuzzing FOLDER FIRST LAST STEP PHOTOMETRY BASE...

writes a line of JSON for each case. It dies on a case that hangs: its last line names it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from skyrelay.synthetic import render_observation
from tests.support.mutations import FIELD, SYNTHETIC, base_files, mutated
from tests.support.stages import run_stage

#: Bytes that a case may take beyond what the process has with all its libraries.
MOST_MEMORY = 2 * 2**30
#: Seconds after which a case hangs; on an idle machine hardly one takes a second.
HANGS = 120

CATALOGUE = "stars.ecsv"


def main() -> None:
    """Work through the cases from FIRST up to, not including, LAST."""
    folder = Path(sys.argv[1])
    first, last, step, photometry = map(int, sys.argv[2:6])
    bases = base_files([Path(name) for name in sys.argv[6:]])
    import services.inspect.stage
    import services.photometry.stage  # noqa: F401

    folder = Path(tempfile.mkdtemp(dir=folder))
    render_observation(FIELD).catalogue.write(folder / CATALOGUE)
    _limit_memory()
    for number in range(first, last, step):
        content = mutated(number, bases)
        _say(case=number, begun=True)
        signal.alarm(HANGS)
        measure = photometry > 0 and number % len(bases) < SYNTHETIC
        results = _run(folder / str(number), content, measure)
        signal.alarm(0)
        photometry -= len(results) > 1
        _say(case=number, results=results, memory=_peak())
        shutil.rmtree(folder / str(number))


def _run(folder: Path, content: bytes, with_photometry: bool) -> list[Any]:
    folder.mkdir(parents=True)
    (folder / "image.fits").write_bytes(content)
    shutil.copyfile(folder.parent / CATALOGUE, folder / CATALOGUE)
    config: dict[str, Any] = {
        **{"cat_name": "local", "cat_file": CATALOGUE, "target": "x=20 y=30"},
    }
    results = []
    for step in ("inspect", "photometry")[: 1 + with_photometry]:
        result = run_stage(step, folder, config)
        log = next(folder.glob(f"{step}.log")).read_text(errors="replace")
        results.append([step, result.outcome, result.reasons, "Traceback" in log])
        if result.outcome == "failed":
            break
        config = result.config | {"blind_match_wcs": False}
    return results


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY,) * 2)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _say(**content: Any) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main()
