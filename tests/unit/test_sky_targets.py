"""Are positions understood in any notation, and what cannot be found refused in a sentence?"""

from __future__ import annotations

from pathlib import Path

import pytest
from astropy.wcs import WCS

from skyrelay.errors import Permanent
from skyrelay.settings import Settings
from skyrelay.sky.remote import Remote
from skyrelay.sky.targets import Target, parse_coordinates, parse_targets, pixels_of


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Nobody is asked; nothing is logged."""
    settings = Settings(_env_file=None, skyrelay_cache_path=tmp_path)
    return Remote(settings, True, tmp_path, lambda *_: None)


@pytest.fixture
def wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [10.0, 20.0], [51, 51], [-1e-3, 1e-3]
    return wcs


@pytest.mark.parametrize(
    "text",
    [
        "10.684708 41.268750",
        "10.684708, +41.268750",
        "10.684708d 41.26875d",
        "00 42 44.33 +41 16 07.5",
        "00:42:44.33 +41:16:07.5",
        "0:42:44.33, 41:16:07.5",
        "00h42m44.33s +41d16m07.5s",
        "00h42m44.33s +41°16'07.5\"",
        "10.684708° +41.26875°",
        "10.684708deg, 41.26875 deg",
        "RA = 10.684708, Dec = +41.26875",
        "RA: 00:42:44.33 Dec: +41:16:07.5 J2000",
        "00:42:44.33 +41.26875",
        "00h42m44.33s 41.26875d",
    ],
)
def test_coordinates_are_understood_in_any_notation(text: str) -> None:
    position = parse_coordinates(text)
    assert position == pytest.approx((10.684708, 41.26875), abs=1e-5)


def test_declinations_just_south_of_the_equator_keep_their_sign() -> None:
    assert parse_coordinates("10:00:00 -00:30:00") == pytest.approx((150.0, -0.5))


@pytest.mark.parametrize(
    "text", ["M 31", "NGC 1275", "SN2015bn", "", "Vega", "DE 10", "PSR J2000+10"]
)
def test_names_are_no_coordinates(text: str) -> None:
    assert parse_coordinates(text) is None


@pytest.mark.parametrize("text", ["400 10", "10 -95", "25:00:00 10:00:00", "10:00:00 +95:00:00"])
def test_places_that_are_not_on_the_sky_are_refused(text: str) -> None:
    with pytest.raises(Permanent, match="no coordinates"):
        parse_coordinates(text)


def test_targets_are_one_per_line(wcs: WCS, remote: Remote) -> None:
    text = "10.0 20.0\n\n# a remark\nMine 10.01 20.01\nx=10 y=20\nstar x = 1.5, y = 2.5"
    targets = parse_targets(text, wcs, remote)
    assert [target.name for target in targets] == ["10.0 20.0", "Mine", "x=10 y=20", "star"]
    assert targets[1] == Target("Mine", 10.01, 20.01)
    assert (targets[2].x, targets[2].y) == (10, 20)
    assert targets[2].ra is not None and targets[2].dec is not None
    x, y = pixels_of([target.as_config() for target in targets], wcs)
    assert x[0] == pytest.approx(50) and y[0] == pytest.approx(50)
    assert (x[3], y[3]) == (1.5, 2.5)


def test_pixels_do_without_a_wcs(remote: Remote) -> None:
    (target,) = parse_targets("x=10 y=20", None, remote)
    assert target.as_config() == {"name": "x=10 y=20", "x": 10.0, "y": 20.0}


def test_position_on_the_other_side_of_the_sky_has_no_pixel(wcs: WCS) -> None:
    x, y = pixels_of([{"ra": 190.0, "dec": -20.0}], wcs)
    assert x != x and y != y


def test_name_that_cannot_be_looked_up_is_told_with_a_way_out(remote: Remote) -> None:
    with pytest.raises(Permanent, match=r"'NGC 1275' cannot be looked up.* give coordinates"):
        parse_targets("NGC 1275", None, remote)
