"""Does each way to refine a slightly wrong solution reach the same accuracy?

The header of the synthetic field is 3 arcsec off, rotated and scaled, and knows no distortion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyrelay import products
from skyrelay.imaging.wcs import wcs_of
from skyrelay.messages import Outcome
from skyrelay.parameters import PARAMETERS, default_of
from skyrelay.synthetic.evaluation import astrometric_residuals
from tests.science.conftest import Field
from tests.support.fields import copied
from tests.support.stages import run_stage

#: Largest distance in arcsec, as quadratic mean over the image, of a solution from the true one.
ACCURACY = 0.05


@pytest.mark.parametrize("method", PARAMETERS["refine_method"].choices)
def test_every_method_finds_the_true_solution(
    method: str, synthetic_field: Field, tmp_path: Path
) -> None:
    initial = wcs_of(fits.getheader(synthetic_field.folder / products.IMAGE))
    assert rms(synthetic_field, initial) > 20 * ACCURACY
    folder, result = synthetic_field.folder, synthetic_field.photometry
    if method != default_of("refine_method"):
        folder = copied(synthetic_field.folder, tmp_path)
        config = synthetic_field.inspection.config | {"refine_method": method, "targets": []}
        result = run_stage("photometry", folder, config)
    assert result.outcome is Outcome.DONE, result.reasons
    refined = wcs_of(fits.getheader(folder / products.IMAGE_WCS))
    assert rms(synthetic_field, refined) < ACCURACY
    assert result.values["refine_method"].value == method


def rms(field: Field, wcs: object) -> float:
    """Quadratic mean of the distance of a solution from the true one, in arcsec."""
    return float(np.sqrt(np.mean(astrometric_residuals(field.truth, wcs) ** 2)))
