"""Does the coverage map cover the image, all of it and hardly more?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from mocpy import MOC

from skyrelay.imaging.coverage import coverage_of
from skyrelay.imaging.wcs import pixel_scale, sky_field


def wcs_at(ra: float, dec: float, scale: float = 1e-3) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [150.5, 100.5]
    wcs.wcs.cdelt = [-scale, scale]
    return wcs


@pytest.mark.parametrize("position", [(120.0, 30.0), (0.02, -45.0), (200.0, 89.95), (10.0, -89.9)])
def test_the_map_has_the_pixels_and_not_their_surroundings(position: tuple[float, float]) -> None:
    wcs, shape = wcs_at(*position), (200, 300)
    text = coverage_of(wcs, shape, pixel_scale(wcs))
    assert text is not None
    moc = MOC.from_string(text)
    x, y = np.meshgrid(np.arange(0, 300, 20), np.arange(0, 200, 20))
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    assert moc.contains_lonlat(ra * u.deg, dec * u.deg).all()
    ra, dec = wcs.all_pix2world([-60, 150, 360], [100, 260, -60], 0)
    assert not moc.contains_lonlat(ra * u.deg, dec * u.deg).any()
    sphere = 4 * np.pi * np.degrees(1) ** 2
    assert moc.sky_fraction * sphere == pytest.approx(200 * 300 * 1e-6, rel=0.3)


def test_the_map_is_part_of_what_is_known_of_the_field() -> None:
    field = sky_field(wcs_at(120.0, 30.0), (200, 300))
    assert field.moc is not None and len(field.moc) < 5000


def test_an_image_of_all_the_sky_has_no_map() -> None:
    wcs = wcs_at(0.0, 0.0, scale=1.0)
    assert coverage_of(wcs, (200, 300), pixel_scale(wcs)) is None
