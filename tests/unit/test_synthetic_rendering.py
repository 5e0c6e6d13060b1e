"""Do rendered stars and galaxies have the flux, the place and the shape that they should?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from photutils.aperture import CircularAperture

from skyrelay.synthetic import FieldSpec
from skyrelay.synthetic.detector import draw_bad_columns, expose, sky
from skyrelay.synthetic.psf import Moffat, PsfField
from skyrelay.synthetic.render import render_stars
from skyrelay.synthetic.sersic import Sersic


def aperture_flux(image, x, y, radius):
    return CircularAperture((x, y), radius).do_photometry(image, method="exact")[0][0]


@pytest.mark.parametrize("fwhm", [1.8, 2.5, 3.5, 6.0])
def test_a_star_has_its_whole_flux_wherever_it_falls_in_a_pixel(fwhm):
    psf = Moffat(fwhm, 3.0)
    for x, y in [(100.0, 100.0), (100.5, 100.5), (100.31, 99.77)]:
        stamp, _, _ = psf.stamp(x, y, 100)
        beyond = (1 + (100 / psf.alpha) ** 2) ** (1 - psf.beta)
        assert stamp.sum() == pytest.approx(1 - beyond, abs=5e-4)


def test_a_star_lies_where_it_was_put():
    stamp, column, row = Moffat(3.5, 3.0).stamp(50.31, 40.77, 30)
    y, x = np.mgrid[: stamp.shape[0], : stamp.shape[1]]
    # A symmetric window, so that the wings cut off by the stamp do not pull.
    weight = np.exp(-((x + column - 50.31) ** 2 + (y + row - 40.77) ** 2) / 8)
    assert np.average(x + column, weights=weight * stamp) == pytest.approx(50.31, abs=1e-3)
    assert np.average(y + row, weights=weight * stamp) == pytest.approx(40.77, abs=1e-3)


@pytest.mark.parametrize("radius", [2.0, 3.5, 5.0, 10.0])
def test_apertures_hold_what_the_aperture_correction_says(radius):
    spec = FieldSpec(size=256, ellipticity=0.1)
    psf = PsfField.of(spec.science()).mean
    # How a small aperture cuts the pixels depends on where the star falls: take many.
    measured = []
    for x, y in np.random.default_rng(1).uniform(100, 150, (40, 2)):
        star = Table({"x": [x], "y": [y], "flux": [1e5]})
        measured.append(aperture_flux(render_stars(star, spec.science()), x, y, radius) / 1e5)
    assert np.mean(measured) == pytest.approx(psf.enclosed(radius), abs=1e-3)


def test_the_aperture_correction_of_a_round_star_is_that_of_the_moffat_formula():
    psf = Moffat(3.5, 3.0)
    # The pixels blur the star by about 1/24 of a pixel squared, which is little at 10 pixels.
    assert psf.enclosed(10) == pytest.approx(1 - (1 + (10 / psf.alpha) ** 2) ** -2, abs=5e-4)


def test_pixels_widen_a_star_a_little():
    assert 3.5 < Moffat(3.5, 3.0).measured_fwhm() < 3.7
    assert Moffat(20, 3.0).measured_fwhm() == pytest.approx(20, abs=0.05)


def test_an_elongated_star_is_elongated_along_its_angle():
    stamp, _, _ = Moffat(4, 3.0, ellipticity=0.3, angle=0).stamp(0, 0, 12)
    middle = stamp.shape[0] // 2
    assert stamp[middle, middle + 3] > 1.3 * stamp[middle + 3, middle]


def test_a_varying_psf_is_wider_in_the_corners_and_keeps_its_mean():
    field = PsfField(Moffat(3.5, 3.0), 0.3, 200, 100)
    assert field.at(0, 0).fwhm / field.at(99.5, 49.5).fwhm == pytest.approx(1.2 / 0.9, rel=1e-2)
    mean = np.mean([field.at(x, y).fwhm for x in range(200) for y in range(100)])
    assert mean == pytest.approx(3.5, rel=1e-4)


@pytest.mark.parametrize("index", [1.0, 4.0])
@pytest.mark.parametrize("half_light", [0.4, 2.0, 8.0])
def test_a_galaxy_has_unit_flux_and_lies_where_it_was_put(index, half_light):
    galaxy = Sersic(index, half_light, 0.6, 30.0)
    stamp, column, row = galaxy.stamp(71.3, 64.8, Moffat(3.5, 3.0))
    assert stamp.sum() == pytest.approx(1, abs=1e-3)
    y, x = np.mgrid[: stamp.shape[0], : stamp.shape[1]]
    weight = stamp * np.exp(-((x + column - 71.3) ** 2 + (y + row - 64.8) ** 2) / 18)
    assert np.average(x + column, weights=weight) == pytest.approx(71.3, abs=3e-3)
    assert np.average(y + row, weights=weight) == pytest.approx(64.8, abs=3e-3)


@pytest.mark.parametrize(("index", "tolerance"), [(1.0, 0.02), (4.0, 0.06)])
def test_half_of_a_round_galaxy_is_inside_its_half_light_radius(index, tolerance):
    stamp, column, row = Sersic(index, 12.0, 1.0, 0.0).stamp(0, 0, Moffat(0.8, 3.0))
    # The truncation takes the outermost light, so that a little more than half is inside.
    assert 0.48 < aperture_flux(stamp, -column, -row, 12.0) < 0.5 + tolerance


def test_a_tiny_galaxy_looks_like_a_star():
    psf = Moffat(3.5, 3.0)
    galaxy, column, row = Sersic(1.0, 0.02, 1.0, 0.0).stamp(50, 50, psf)
    star, star_column, star_row = psf.stamp(50, 50, 5)
    core = galaxy[star_row - row :, star_column - column :][:11, :11]
    assert core == pytest.approx(star, abs=6e-3 * star.max())


def test_noise_is_that_of_sky_gain_and_read_out():
    exposure = FieldSpec(
        size=512, sky_gradient=0.0, cosmic_rays=0, dead_columns=0, hot_columns=0
    ).science()
    image, _ = expose(np.zeros((512, 512)), exposure, Table(), np.random.default_rng(1))
    assert image.mean() == pytest.approx(exposure.sky_level, abs=0.2)
    assert image.std() == pytest.approx(exposure.sky_rms, rel=0.01)
    assert exposure.sky_rms == pytest.approx(np.hypot(np.sqrt(370 / 1.5), 6 / 1.5))


def test_the_sky_has_its_mean_level_and_its_gradient():
    background = sky(FieldSpec(size=200, sky_gradient=0.1).science())
    assert background.mean() == pytest.approx(370, rel=1e-3)
    assert (background[-1, -1] - background[0, 0]) / 370 == pytest.approx(0.1, rel=0.02)


def test_bright_stars_saturate_columns_die_and_cosmic_rays_hit():
    exposure = FieldSpec(size=256, cosmic_rays=10).science()
    scene = np.zeros((256, 256))
    scene[100:103, 100:103] = 1e6
    rng = np.random.default_rng(3)
    columns = draw_bad_columns(exposure, rng)
    image, rays = expose(scene, exposure, columns, rng)
    assert image.max() == exposure.saturation
    assert len(rays) == 10
    dead, hot = columns[columns["kind"] == "dead"][0], columns[columns["kind"] == "hot"][0]
    assert np.median(image[dead["first"] : dead["last"], dead["x"]]) < 40
    assert np.median(image[hot["first"] : hot["last"], hot["x"]]) > 700
