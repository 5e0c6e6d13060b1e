"""Is the sky found between the stars of a crowded field, and not with them?"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from skyrelay.imaging.point_spread import moffat
from skyrelay.imaging.sky import local_sky, sky_of

FWHM, LEVEL, NOISE, SIDE = 4.0, 300.0, 15.0, 512


def field(stars: int, brightest: float = 1e5) -> NDArray[np.float64]:
    """An image of so many stars, ten times as many of them per factor of ten in faintness."""
    rng = np.random.default_rng(8)
    image = rng.normal(LEVEL, NOISE, (SIDE, SIDE))
    profile = moffat(FWHM, 41)
    for _ in range(stars):
        x, y = rng.integers(21, SIDE - 21, 2)
        flux = min(500 / rng.uniform(), brightest)
        image[y - 20 : y + 21, x - 20 : x + 21] += flux * profile
    return image


@pytest.mark.parametrize("stars", [10, 300, 1200])
def test_stars_do_not_raise_the_sky_or_its_noise(stars: int) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    sky, noise = sky_of(field(stars), mask, 256, FWHM)
    assert np.median(sky) == pytest.approx(LEVEL, abs=0.1 * NOISE)
    assert np.median(noise) == pytest.approx(NOISE, rel=0.05)


def test_starlight_in_a_field_without_gaps_is_no_noise_of_pixels() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    _, noise = sky_of(field(5_000), mask, 256, FWHM)
    # Neighbours differ a little by starlight, too.
    assert 0.8 * NOISE < np.median(noise) < 2 * NOISE


def test_annulus_follows_a_step_that_the_mesh_smooths_out() -> None:
    image, mask = field(100), np.zeros((SIDE, SIDE), bool)
    image[:, SIDE // 2 :] += 2 * NOISE
    sky = local_sky(image, mask, 256, FWHM, (20.0, 28.0))
    beside = slice(50, SIDE - 50), slice(SIDE // 2 - 60, SIDE // 2 - 40)
    of_mesh, _ = sky_of(image, mask, 256, FWHM)
    assert abs(np.median(sky.level[beside]) - LEVEL) < 0.1 * NOISE
    assert abs(np.median(of_mesh[beside]) - LEVEL) > 0.3 * NOISE


def test_level_of_the_annulus_is_as_uncertain_as_it_says() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    sky = local_sky(field(100), mask, 256, FWHM, (20.0, 28.0))
    assert np.std((sky.level - LEVEL) / sky.error) == pytest.approx(1.0, abs=0.6)


def test_masked_pixels_are_no_sky() -> None:
    image, mask = field(100), np.zeros((SIDE, SIDE), bool)
    mask[100:200] = True
    image[mask] = np.nan
    sky, _ = sky_of(image, mask, 256, FWHM)
    assert np.isfinite(sky).all()
    assert np.median(sky) == pytest.approx(LEVEL, abs=0.1 * NOISE)
