"""Does the noise of a difference know the rings that bright stars leave in it?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from skyrelay.imaging.residuals import residual_variance

FWHM, SIDE, FLUX = 4.0, 400, 2e5


def _variance(left: float, *, of_all: bool) -> np.ndarray:
    """Of a field in which all stars, or only the first one, leave a ring of light."""
    rng = np.random.default_rng(3)
    noise = np.full((SIDE, SIDE), 10.0)
    difference = rng.normal(0, noise)
    x, y = (axis.ravel().astype(float) for axis in np.mgrid[50:SIDE:75, 50:SIDE:75])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for each in list(zip(x, y, strict=True))[: None if of_all else 1]:
        radius = np.hypot(columns - each[0], rows - each[1])
        difference[(radius > 2.5 * FWHM) & (radius < 3 * FWHM)] += left * FLUX
    stars = Table({"x": x, "y": y, "flux": np.full(len(x), FLUX)})
    stars["fluxerr"], stars["flags"] = 100.0, 0
    nothing = np.zeros((SIDE, SIDE))
    return residual_variance(difference, nothing, noise, nothing > 0, stars, FWHM)


def test_ring_of_a_single_star_counts_around_that_star_alone() -> None:
    variance = _variance(6e-4, of_all=False)
    in_ring, around_another = variance[50, 50 + round(2.75 * FWHM)], variance[200, 211]
    assert in_ring > 5 * 10.0**2
    assert around_another == 0


@pytest.mark.parametrize("left", [0.0, 3e-4])
def test_rings_that_stars_leave_count_as_noise_and_others_do_not(left: float) -> None:
    variance = _variance(left, of_all=True)
    in_ring, beyond = variance[50, 50 + round(2.75 * FWHM)], variance[87, 87]
    assert beyond == 0
    assert in_ring > 5 * 10.0**2 if left else in_ring < 0.5 * 10.0**2
