"""Is the scatter by stars that nobody sees what it is, and is there none where there are none?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from skyrelay.imaging.apertures import Apertures, Exposure
from skyrelay.imaging.confusion import confusion_noise

SIDE, NOISE, FWHM = 600, 10.0, 4.0
APERTURES = Apertures(fwhm=FWHM, rel_aper=1.0, rel_bg1=5.0, rel_bg2=7.0)
#: Noise of the sky in an aperture.
OF_SKY = NOISE * np.sqrt(np.pi) * APERTURES.radius


def _measured(faint_stars: int, flux: float) -> float:
    rng = np.random.default_rng(8)
    light = np.zeros((SIDE, SIDE))
    np.add.at(light, tuple(rng.integers(0, SIDE, (2, faint_stars))), flux)
    data = 500 + gaussian_filter(light, FWHM / 2.355) + rng.normal(0, NOISE, light.shape)
    objects = Table({"x": [100.0], "y": [100.0]})
    exposure = Exposure(data, np.zeros(data.shape, bool), gain=1.0, bg_size=128)
    return confusion_noise(objects, exposure, APERTURES, log=lambda *_: None)


def test_empty_sky_confuses_nothing() -> None:
    assert _measured(0, 0.0) < 0.25 * OF_SKY


def test_scatter_is_that_of_the_number_of_unseen_stars_in_an_aperture() -> None:
    flux, in_aperture = 0.5 * OF_SKY, 4.0
    count = in_aperture * SIDE**2 / (np.pi * APERTURES.radius**2)
    # Stars come by chance (Poisson); blurred, they are partly in one aperture and in the next.
    assert _measured(round(count), flux) == pytest.approx(0.85 * flux * in_aperture**0.5, rel=0.25)


def test_an_image_without_any_noise_has_a_sentence_for_its_log() -> None:
    data, said = np.full((SIDE, SIDE), 500.0), []
    exposure = Exposure(data, np.zeros(data.shape, bool), gain=1.0, bg_size=128)
    objects = Table({"x": [100.0], "y": [100.0]})
    assert confusion_noise(objects, exposure, APERTURES, log=said.append) == 0.0
    assert len(said) == 1
