"""Is the time of an observation found, in whatever notation it was written?"""

from __future__ import annotations

from typing import Any

import pytest
from astropy.io import fits

from skyrelay.errors import Permanent
from skyrelay.imaging.times import middle_of, parsed_time, time_of


def silent(*_: object) -> None:
    """A log that nobody reads."""


@pytest.mark.parametrize(
    ("cards", "time"),
    [
        ({"DATE-OBS": "2024-05-14T23:12:41.5"}, "2024-05-14T23:12:41.500"),
        ({"DATE-OBS": "2019-02-02", "TIME-OBS": "06:58:30.133"}, "2019-02-02T06:58:30.133"),
        ({"DATE-OBS": "29/11/51", "UT": "12:07:00.00"}, "1951-11-29T12:07:00.000"),
        ({"DATE-OBS": "2012-06-17T05-09-42"}, "2012-06-17T05:09:42.000"),
        ({"DATE": "2021-01-01", "MJD-OBS": 58516.25}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "2019-02-02", "UT": 21600.5}, "2019-02-02T06:00:00.500"),
        ({"DATE-OBS": "2019-02-02", "UT": 6.5}, "2019-02-02T06:30:00.000"),
        ({"DATE-OBS": "2019-02-02T08:00:00+02:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "2019-02-01T23:30:00.5-0630"}, "2019-02-02T06:00:00.500"),
        ({"DATE-OBS": "2019-02-02T06:00:00Z"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "2019-02-02 06:00:00 UT"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "2019/02/02 06:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "20190202T060000.5"}, "2019-02-02T06:00:00.500"),
        ({"DATE-OBS": "02/02/19", "TIME-OBS": "06:00:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "02-02-2019", "TIME-OBS": "06:00:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "99-02-03", "TIME-OBS": "06:00:00"}, "1999-02-03T06:00:00.000"),
        ({"DATE-OBS": "2-Feb-2019", "TIME-OBS": "06:00:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "Feb 2 2019 06:00:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-MID": "2019-02-02T06:00:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-LOC": "2019-02-02T07:00:00+01:00"}, "2019-02-02T06:00:00.000"),
        ({"DATE-LOC": "2019-02-02T07:00:00"}, None),
        ({"DATE-OBS": "2019-02-02", "UTSHUT": "06:00:00"}, "2019-02-02T06:00:00.000"),
        ({"EXPSTART": 58516.25}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "02/02/19"}, "2019-02-02T00:00:00.000"),
        ({"DATE-OBS": "unknown", "MJD-OBS": 58516.25}, "2019-02-02T06:00:00.000"),
        ({"DATE-OBS": "2019-02-30T06:00:00"}, None),
        ({"DATE-OBS": "0000-00-00T00:00:00"}, None),
        ({"JD": 1e300}, None),
        ({"JD": 2458516.75}, "2019-02-02T06:00:00.000"),
        ({"DATE": "2021-01-01T00:00:00"}, None),
        ({}, None),
    ],
)
def test_time_is_found_in_every_notation(cards: dict[str, Any], time: str | None) -> None:
    found = time_of(fits.Header(cards), silent)
    assert (None if found is None else found.isot) == time


def test_a_header_that_tells_the_day_only_is_warned_of() -> None:
    said: list[str] = []
    time_of(fits.Header({"DATE-OBS": "2019-02-02"}), said.append)
    assert "the day only" in said[-1]
    time_of(fits.Header({"DATE-OBS": "2019-02-02T06:00:00"}), said.append)
    assert "the day only" not in said[-1]


def test_time_of_the_user_is_understood_or_refused() -> None:
    assert parsed_time("58516.25").isot == "2019-02-02T06:00:00.000"
    assert parsed_time("2019-02-02 06:00").isot == "2019-02-02T06:00:00.000"
    with pytest.raises(Permanent, match="cannot be understood"):
        parsed_time("yesterday evening")


def test_the_time_of_a_stack_is_its_middle() -> None:
    cards = {"DATE-OBS": "2019-02-02T05:00:00", "DATE-MID": "2019-02-02T06:00:00"}
    assert time_of(fits.Header(cards), silent).isot == "2019-02-02T05:00:00.000"
    assert time_of(fits.Header(cards | {"NCOMBINE": 9}), silent).isot == "2019-02-02T06:00:00.000"


@pytest.mark.parametrize(
    "cards",
    [
        {"DATE-OBS": "2019-02-02T06:00:00"},
        {"DATE-MID": "2019-02-02T06:05:00"},
        {"UTMIDDLE": "2019-02-02T06:05:00"},
        {"MJD-MID": 58516.25 + 300 / 86400},
        {"MJD-AVG": 58516.25 + 300 / 86400, "MJD-OBS": 58516.25},
    ],
    ids=lambda cards: " ".join(cards),
)
def test_half_the_exposure_is_added_to_the_start_only(cards: dict[str, Any]) -> None:
    middle = middle_of(fits.Header(cards | {"EXPTIME": 600.0}))
    assert middle is not None and middle.isot == "2019-02-02T06:05:00.000"
