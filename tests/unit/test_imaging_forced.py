"""Is nothing told of a target where nothing can be measured, and null written for it?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from skyrelay.imaging.flags import APERTURE_MASKED
from skyrelay.imaging.forced import forget_masked, keep_targets
from skyrelay.settings import Settings
from skyrelay.stage import execute
from skyrelay.stage.context import StageContext, StageLog
from skyrelay.stages import stage_of


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StageContext]:
    stage = stage_of("subtraction")
    log = StageLog(tmp_path / stage.log_name)
    yield StageContext(stage, tmp_path, {}, Settings(_env_file=None), tmp_path, log)
    log.close()


@pytest.fixture
def targets() -> Table:
    """A bright target at the edge of a cosmic ray, one not seen, and one on masked pixels."""
    table = Table(
        {"name": ["bright", "gone", "hidden"], "flags": [APERTURE_MASKED, 0, APERTURE_MASKED]}
    )
    table["x"], table["y"] = [10.0, 30.0, 20.0], [10.0, 30.0, 20.0]
    table["flux"], table["fluxerr"] = [1000.0, -5.0, 3.0], [10.0, 10.0, 1.0]
    table["mag_calib"], table["mag_calib_err"] = [15.0, np.nan, 20.0], [0.01, np.nan, 0.3]
    table["mag_limit"] = [19.0, 19.0, 25.0]
    return table


def test_every_target_has_its_values_and_what_is_masked_has_none(
    context: StageContext, targets: Table
) -> None:
    mask = np.zeros((40, 40), bool)
    mask[10, 13] = mask[20, 20] = True
    forget_masked(targets, mask, radius=4.0)
    keep_targets(context, targets)
    values = {name: value.value for name, value in context.values.items()}
    assert values["n_targets"] == 3
    assert (values["target_0_mag"], values["target_0_sn"]) == (15.0, 100.0)
    assert (values["target_1_mag"], values["target_1_mag_limit"]) == (None, 19.0)
    for what in ("mag", "sn", "mag_limit"):
        assert values[f"target_2_{what}"] is None
    assert np.isnan(targets["flux"][2]) and np.isnan(targets["mag_limit"][2])
    assert context.degraded == ["Target hidden lies on pixels that cannot be measured."]


def test_results_are_json_whatever_was_measured(context: StageContext) -> None:
    context.measure("mag", float("nan"), error=float("inf"))
    execute._write_results(context)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = context.path(context.stage.results_name).read_text()
    value = json.loads(text, parse_constant=refuse)["values"]["mag"]
    assert value["value"] is None and value["error"] is None
