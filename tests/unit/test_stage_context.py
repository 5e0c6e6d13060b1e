"""Does a stage's log tell what the stage did, and not where its scratch lies?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.settings import Settings
from skyrelay.stage.context import StageContext, StageLog
from skyrelay.stages import stage_of


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StageContext]:
    folder, temporary = tmp_path / "attempt", tmp_path / "attempt" / "scratch"
    temporary.mkdir(parents=True)
    log = StageLog(folder / "stage.log")
    yield StageContext(stage_of("inspect"), folder, {}, Settings(_env_file=None), temporary, log)
    log.close()


def test_paths_of_the_scratch_are_shortened_in_the_log(context: StageContext) -> None:
    context.log("Running sex -c", context.temporary / "sex.conf", f"'{context.folder}/image.fits'")
    context.log("Reading /usr/share/index.fits")
    lines = context.path("stage.log").read_text().splitlines()
    assert lines == [
        "Running sex -c …/sex.conf '…/image.fits'",
        "Reading /usr/share/index.fits",
    ]
