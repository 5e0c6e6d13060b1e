"""Are gain, saturation, filter and time found in headers of many dialects?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skyrelay.errors import Permanent
from skyrelay.imaging.header import filter_of, gain_of, parsed_time, saturation_of, time_of
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
        ({"FILTER1": "open", "FILTER2": "i"}, "r"),
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


def test_pixels_without_a_finite_value_do_not_count() -> None:
    pixels = COUNTS.copy()
    pixels[3, 4:7] = np.inf, -np.inf, np.nan
    level = saturation_of(fits.Header(), pixels, silent)
    assert level == pytest.approx(saturation_of(fits.Header(), COUNTS, silent), rel=0.01)
    assert gain_of(fits.Header(), pixels / COUNTS.max(), silent) == pytest.approx(65535)


@pytest.mark.parametrize(
    ("cards", "time"),
    [
        ({"DATE-OBS": "2024-05-14T23:12:41.5"}, "2024-05-14T23:12:41.500"),
        ({"DATE-OBS": "2019-02-02", "TIME-OBS": "06:58:30.133"}, "2019-02-02T06:58:30.133"),
        ({"DATE-OBS": "29/11/51", "UT": "12:07:00.00"}, "1951-11-29T12:07:00.000"),
        ({"DATE-OBS": "2012-06-17T05-09-42"}, "2012-06-17T05:09:42.000"),
        ({"DATE": "2021-01-01", "MJD-OBS": 58516.25}, "2019-02-02T06:00:00.000"),
        ({"JD": 2458516.75}, "2019-02-02T06:00:00.000"),
        ({"DATE": "2021-01-01T00:00:00"}, None),
        ({}, None),
    ],
)
def test_time_is_found_in_every_notation(cards: dict[str, Any], time: str | None) -> None:
    found = time_of(fits.Header(cards), silent)
    assert (None if found is None else found.isot) == time


def test_time_of_the_user_is_understood_or_refused() -> None:
    assert parsed_time("58516.25").isot == "2019-02-02T06:00:00.000"
    assert parsed_time("2019-02-02 06:00").isot == "2019-02-02T06:00:00.000"
    with pytest.raises(Permanent, match="cannot be understood"):
        parsed_time("yesterday evening")


def test_catalogue_and_template_follow_filter_and_declination() -> None:
    assert best_catalogue("V", 10) == "gaiadr3syn"
    assert best_catalogue("r", 10) == "ps1"
    assert best_catalogue("r", -60) == "skymapper"
    assert best_catalogue("J", 0) == "2mass"
    assert best_template("r", 10, 10) == "ps1"
    assert best_template("r", 10, -40) == "ls"
    assert best_template("r", 280, -80) == "skymapper"
