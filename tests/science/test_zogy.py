"""Does proper subtraction find what is new, without a kernel and with a profile of its own?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.stage.execute import StageResult
from skyrelay.synthetic import score_candidates
from tests.science.conftest import LEAST_FOUND, MOST_FALSE, Field
from tests.support.fields import copied
from tests.support.stages import run_stage


@pytest.fixture(scope="module")
def searched(
    transient_field: Field, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StageResult]:
    """The field after a search in the proper difference."""
    folder = copied(transient_field.folder, tmp_path_factory.mktemp("zogy"))
    config = {**transient_field.photometry.config, "subtraction_method": "zogy"}
    return folder, run_stage("subtraction", folder, config)


def test_most_transients_are_found_and_hardly_anything_else(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    folder, result = searched
    assert result.outcome is Outcome.DONE, result.reasons
    assert result.values["method"].value == "zogy"
    score = score_candidates(transient_field.truth, Table.read(folder / products.CANDIDATES))
    found, injected = score.counts(sn=(5.0, np.inf))
    assert found >= LEAST_FOUND * injected, score.missed
    assert len(score.false) <= MOST_FALSE, score.false


def test_difference_scatters_by_its_noise(searched: tuple[Path, StageResult]) -> None:
    assert searched[1].values["difference_noise_ratio"].value == pytest.approx(1.0, abs=0.06)


def test_magnitudes_agree_with_the_truth_within_their_errors(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    candidates = Table.read(searched[0] / products.CANDIDATES)
    found = score_candidates(transient_field.truth, candidates).found
    seen = candidates[np.asarray(found["candidate"])]
    deviation = np.ma.filled(seen["mag_calib"] - found["mag"], np.nan)
    error = np.ma.filled(np.ma.asarray(seen["mag_calib_err"]), np.nan)
    assert abs(np.nanmedian(deviation)) < 0.03
    assert 0.7 < 1.48 * np.nanmedian(np.abs(deviation / error)) < 1.4
