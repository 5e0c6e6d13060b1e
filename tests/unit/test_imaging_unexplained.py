"""Is light that the catalogue does not explain recognized, and blends and halos are not?"""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from skyrelay.imaging.point_spread import moffat
from skyrelay.imaging.unexplained import Expectation, expect

FWHM = 3.5
STARS = Table(
    {
        "x": [100.0, 200.0, 202.5, 300.0],
        "y": [100.0, 100.0, 100.0, 100.0],
        "xyerr": [0.1] * 4,
        "mag": [18.0, 18.0, 18.0, 11.0],
        "magerr": [0.02, 0.02, 0.02, 0.02],
    }
)


def seen(x: float, magnitude: float) -> Expectation:
    objects = Table(
        {
            "x": [x],
            "y": [100.0],
            "xerr": [0.05],
            "yerr": [0.05],
            "mag_calib": [magnitude],
            "mag_calib_err": [0.05],
        }
    )
    return expect(
        objects, STARS, fwhm=FWHM, profile=moffat(FWHM, 41), aperture=FWHM, radius=0.5 * FWHM
    )


def test_star_as_bright_as_in_the_catalogue_is_explained() -> None:
    found = seen(100.0, 18.0)
    assert found.distance[0] < 0.01 and found.nearest_magnitude[0] == 18.0
    assert abs(found.excess_sn[0]) < 1 and found.displacement[0] < 1


def test_star_that_flares_up_is_not() -> None:
    assert seen(100.0, 16.0).excess_sn[0] > 4


def test_blend_of_two_stars_is_explained_by_both() -> None:
    found = seen(201.25, 17.3)
    assert found.excess_sn[0] < 4


def test_object_far_from_every_star_is_unexplained() -> None:
    found = seen(150.0, 19.0)
    assert found.distance[0] > 40 and found.excess_sn[0] > 10


def test_faint_object_in_the_wings_of_a_bright_star_is_explained() -> None:
    assert seen(308.0, 17.0).excess_sn[0] < 4


def test_light_beside_a_star_is_displaced() -> None:
    found = seen(100.8, 17.0)
    assert found.displacement[0] > 2.5 and found.excess_sn[0] > 4


def test_empty_catalogue_explains_nothing() -> None:
    objects = Table({name: [1.0] for name in ("x", "y", "xerr", "yerr", "mag_calib")})
    objects["mag_calib_err"] = 0.1
    found = expect(objects, STARS[:0], fwhm=FWHM, profile=moffat(FWHM, 21), aperture=3, radius=2)
    assert np.isinf(found.distance[0]) and np.isinf(found.excess_sn[0])


def test_star_of_which_the_catalogue_is_not_sure_is_explained_where_another_is_not() -> None:
    sure, unsure = STARS[:1], STARS[:1].copy()
    unsure["magerr"] = 0.3
    objects = Table(
        {"x": [100.0], "y": [100.0], "xerr": [0.05], "yerr": [0.05],
         "mag_calib": [17.4], "mag_calib_err": [0.05]}
    )  # fmt: skip
    excess = [
        expect(
            objects, stars, fwhm=FWHM, profile=moffat(FWHM, 41), aperture=FWHM, radius=0.5 * FWHM
        ).excess_sn[0]
        for stars in (sure, unsure)
    ]
    assert excess[0] > 5 > excess[1]
