"""Are the equations of the proper difference right, where the answer is known?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter, shift

from skyrelay.imaging.point_spread import enclosed, moffat
from skyrelay.imaging.zogy import ProperDifference, proper_difference

SIZE, SCALE, FLUX = 201, 2.5, 4000.0
SKY, TEMPLATE_SKY = 4.0, 0.5
WIDTHS = (1.6, 1.1)
NEW = (120, 80)


def _gaussian(sigma: float) -> np.ndarray:
    point = np.zeros((25, 25))
    point[12, 12] = 1.0
    return gaussian_filter(point, sigma, truncate=8)


@pytest.fixture(scope="module")
def subtracted() -> ProperDifference:
    """Twenty stars and one that is new; the template is sharper, shifted and of another scale."""
    rng = np.random.default_rng(3)
    stars = np.zeros((SIZE, SIZE))
    rows, columns = rng.integers(20, SIZE - 20, (2, 20))
    stars[rows, columns] = 20_000.0
    new = np.zeros_like(stars)
    new[NEW] = FLUX
    image = gaussian_filter(stars + new, WIDTHS[0]) + rng.normal(0, SKY, stars.shape)
    template = shift(gaussian_filter(stars, WIDTHS[1]) / SCALE, (0.3, -0.2))
    template += rng.normal(0, TEMPLATE_SKY, stars.shape)
    objects = Table({"x": columns * 1.0, "y": rows * 1.0})
    objects["flux"], objects["fluxerr"], objects["flags"] = 20_000.0, 100.0, 0
    noise = np.full((2, SIZE, SIZE), SKY**2)
    noise[1] = TEMPLATE_SKY**2
    bad = np.zeros(stars.shape, dtype=bool)
    profiles = (_gaussian(WIDTHS[0]), _gaussian(WIDTHS[1]))
    return proper_difference((image, template), (noise[0], noise[1]), profiles, bad, objects, 3.8)


def test_scale_and_shift_are_found(subtracted: ProperDifference) -> None:
    assert subtracted.flux_scale == pytest.approx(SCALE, rel=0.01)
    assert subtracted.objects >= 15


def test_new_star_has_its_flux_and_the_profile_that_is_told(subtracted: ProperDifference) -> None:
    window = (slice(NEW[0] - 12, NEW[0] + 13), slice(NEW[1] - 12, NEW[1] + 13))
    light, profile = subtracted.difference[window], subtracted.profile
    middle = slice(profile.shape[0] // 2 - 12, profile.shape[0] // 2 + 13)
    profile = profile[middle, middle]
    flux = np.sum(light * profile) / np.sum(profile**2)
    assert flux == pytest.approx(FLUX, abs=5 * SKY / np.sqrt(np.sum(profile**2)))


def test_noise_is_what_is_claimed_and_independent_from_pixel_to_pixel(
    subtracted: ProperDifference,
) -> None:
    empty = np.abs(subtracted.convolved) < 1
    empty[NEW[0] - 12 : NEW[0] + 13, NEW[1] - 12 : NEW[1] + 13] = False
    values = subtracted.difference[empty] / np.sqrt(subtracted.variance[empty])
    assert np.std(values) == pytest.approx(1.0, abs=0.06)
    plane = np.where(empty, subtracted.difference, 0.0)
    assert abs(np.mean(plane[:, 1:] * plane[:, :-1]) / np.mean(plane**2)) < 0.05


def test_enclosed_light_of_a_profile_grows_to_all_of_it() -> None:
    profile = moffat(3.0, 41)
    assert enclosed(profile, 1.5) < enclosed(profile, 3.0) < enclosed(profile, 20.0) <= 1.0
    assert enclosed(profile, 20.0) == pytest.approx(1.0, abs=0.01)
