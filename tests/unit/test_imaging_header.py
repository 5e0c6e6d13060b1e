"""Are gain, saturation and filter found in headers of many dialects?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skyrelay.imaging.header import filter_of, gain_of, saturation_of
from skyrelay.sky.filters import best_catalogue, best_template, known_filter

COUNTS = np.random.default_rng(1).normal(1000, 20, (64, 64))


def silent(*_: object) -> None:
    """A log that nobody reads."""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("r", "r"),
        ("R", "R"),
        ("r'", "r"),
        ("rp", "r"),
        ("SDSS-r", "r"),
        ("sdss_g", "g"),
        ("r.00000", "r"),
        ("r DECam SDSS c0002 6415.0 1480.0", "r"),
        ("Johnson V", "V"),
        ("Bessell_B", "B"),
        ("V_BESSEL", "V"),
        ("R_JC", "R"),
        ("Harris V", "V"),
        ("SG", "g"),
        ("Y", "y"),
        ("Rc", "R"),
        ("Ic", "I"),
        ("zs", "z"),
        ("Ks", "Ks"),
        ("Gaia G", "G"),
        ("Halpha", None),
        ("Filter 2", None),
        ("", None),
    ],
)
def test_filter_names_of_many_dialects_are_understood(text: str, name: str | None) -> None:
    assert known_filter(text) == name


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"FILTER": "V"}, "V"),
        ({"CCDFLTID": "B"}, "B"),
        ({"FILTER": "Clear"}, "r"),
        ({"FILTER1": "open", "FILTER2": "i"}, "i"),
        ({"FILTER1": "open", "FILTER2": "CLEAR"}, "r"),
        ({"FAFLTNM": "empty", "FBFLTNM": "R_BESS"}, "R"),
        ({}, "r"),
    ],
)
def test_filter_comes_from_the_header_else_it_is_r(cards: dict[str, Any], name: str) -> None:
    assert filter_of(fits.Header(cards), silent) == name


@pytest.mark.parametrize(
    ("cards", "gain"),
    [
        ({"GAIN": 1.8}, 1.8),
        ({"EGAIN": 0.78, "GAIN": 120}, 0.78),
        ({"GAIN": -1}, 1.0),
        ({"GAIN": "unknown"}, 1.0),
        ({}, 1.0),
    ],
)
def test_gain_comes_from_the_header_where_it_makes_sense(
    cards: dict[str, Any], gain: float
) -> None:
    assert gain_of(fits.Header(cards), COUNTS, silent) == pytest.approx(gain)


def test_gain_of_rescaled_pixels_is_guessed() -> None:
    assert gain_of(fits.Header(), COUNTS / COUNTS.max(), silent) == pytest.approx(65535)
    assert gain_of(fits.Header(), COUNTS / 200, silent) == pytest.approx(100, rel=0.1)


def test_saturation_below_the_sky_is_not_believed() -> None:
    guess = 0.05 * np.median(COUNTS) + 0.95 * COUNTS.max()
    assert saturation_of(fits.Header({"SATURATE": 60000}), COUNTS, silent) == 60000
    assert saturation_of(fits.Header({"SATURATE": 10}), COUNTS, silent) == pytest.approx(guess)


def test_saturation_is_where_the_detector_clips_whatever_the_header_says() -> None:
    clipped = COUNTS.copy()
    clipped[10:15, 10:15] = 40000
    assert saturation_of(fits.Header({"SATURATE": 65535}), clipped, silent) < 40000
    assert saturation_of(fits.Header({"SATURATE": 39000}), clipped, silent) == 39000


def test_a_gain_that_the_noise_belies_is_doubted_aloud() -> None:
    said: list[str] = []
    assert gain_of(fits.Header({"GAIN": 0.05}), COUNTS, said.append) == 0.05
    assert any("the gain is wrong" in line for line in said)
    said.clear()
    gain_of(fits.Header({"GAIN": 2.5}), COUNTS, said.append)
    assert not any("wrong" in line for line in said)


def test_pixels_without_a_finite_value_do_not_count() -> None:
    pixels = COUNTS.copy()
    pixels[3, 4:7] = np.inf, -np.inf, np.nan
    level = saturation_of(fits.Header(), pixels, silent)
    assert level == pytest.approx(saturation_of(fits.Header(), COUNTS, silent), rel=0.01)
    assert gain_of(fits.Header(), pixels / COUNTS.max(), silent) == pytest.approx(65535)


def test_catalogue_and_template_follow_filter_and_declination() -> None:
    assert best_catalogue("V", 10) == "gaiadr3syn"
    assert best_catalogue("r", 10) == "ps1"
    assert best_catalogue("r", -60) == "skymapper"
    assert best_catalogue("J", 0) == "2mass"
    assert best_template("r", 10, 10) == "ps1"
    assert best_template("r", 10, -40) == "ls"
    assert best_template("r", 280, -80) == "skymapper"
