"""Does an observation hold together: images, headers, catalogue and truth?"""

from __future__ import annotations

import numpy as np
import pytest
import sep
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from click.testing import CliRunner

from skyrelay.errors import Permanent
from skyrelay.synthetic import FieldSpec, Truth, render_observation
from skyrelay.synthetic.__main__ import main
from skyrelay.synthetic.evaluation import astrometric_residuals
from skyrelay.synthetic.wcs import to_pixels

SPEC = FieldSpec(seed=11, size=512, transients_alone=5, transients_on_galaxies=3)


@pytest.fixture(scope="module")
def observation():
    return render_observation(SPEC)


def good_stars(truth, low=14.5, high=18.5, edge=20):
    """Bright, unsaturated, isolated stars away from the edges and the detector's faults."""
    stars = truth.stars
    x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
    others = np.hypot(x[:, None] - x, y[:, None] - y)
    rivals = (others < 15) & (np.asarray(stars["r"]) < np.asarray(stars["r"])[:, None] + 4)
    good = (stars["r"] > low) & (stars["r"] < high) & (rivals.sum(axis=1) == 1)
    good &= np.minimum.reduce([x, y, 511 - x, 511 - y]) > edge
    for ruined in (truth.galaxies[truth.galaxies["r"] < 21], truth.cosmic_rays, truth.transients):
        distance = np.hypot(x[:, None] - ruined["x"], y[:, None] - ruined["y"])
        good &= distance.min(axis=1, initial=1e9) > 15
    for column in truth.bad_columns["x"]:
        good &= abs(x - column) > 12
    return stars[good]


def photometry(image, stars, radius, gain):
    data = np.ascontiguousarray(image, dtype=float)
    background = sep.Background(data, bw=64, bh=64)
    return sep.sum_circle(
        data - background.back(), stars["x"], stars["y"], radius, subpix=0, gain=gain
    )


def test_aperture_photometry_of_the_image_gives_the_true_zero_point(observation):
    truth = observation.truth
    stars = good_stars(truth)
    assert len(stars) > 10
    for radius in (4.0, 7.0):
        flux, _, _ = photometry(observation.image, stars, radius, SPEC.gain)
        instrumental = -2.5 * np.log10(flux)
        colour = stars["g"] - stars["r"]
        zero_points = stars["r"] - instrumental - truth.science.colour_term * colour
        assert np.median(zero_points) == pytest.approx(
            truth.science.zero_point_at(radius), abs=0.01
        )


def test_the_true_wcs_maps_stars_to_their_pixels(observation):
    truth = observation.truth
    x, y = to_pixels(truth.science.celestial(), truth.stars["ra"], truth.stars["dec"])
    assert np.hypot(x - truth.stars["x"], y - truth.stars["y"]).max() < 1e-4
    stars = good_stars(truth)
    data = np.ascontiguousarray(observation.image, dtype=float)
    data -= np.median(data)
    x, y, _ = sep.winpos(data, stars["x"], stars["y"], 1.5)
    assert np.median(np.hypot(x - stars["x"], y - stars["y"])) < 0.05


def test_the_true_wcs_is_distorted_and_the_initial_one_is_not(observation):
    truth = observation.truth
    distorted = truth.science.celestial()
    assert distorted.sip is not None
    x, y = distorted.all_world2pix(*distorted.wcs_pix2world([[0, 0]], 0)[0], 0)
    assert np.hypot(x, y) == pytest.approx(SPEC.distortion, rel=0.3)
    assert WCS(observation.header).sip is None


def test_the_header_is_wrong_by_a_few_arcseconds(observation):
    residuals = astrometric_residuals(observation.truth, WCS(observation.header))
    assert 1.5 < np.median(residuals) < 5
    assert residuals.max() < 10
    assert residuals.std() > 0.1


def test_the_noise_of_the_image_is_that_of_the_truth(observation):
    data = np.ascontiguousarray(observation.image, dtype=float)
    background = sep.Background(data, bw=32, bh=32)
    science = observation.truth.science
    assert background.globalrms == pytest.approx(science.sky_rms, rel=0.08)
    assert background.globalback == pytest.approx(science.sky_level, rel=0.03)


def test_the_template_shows_the_same_stars_at_the_same_places_without_the_transients(observation):
    wcs = WCS(observation.template_header)
    data = np.ascontiguousarray(observation.template, dtype=float)
    data -= sep.Background(data, bw=64, bh=64).back()
    stars = good_stars(observation.truth, 15, 17)
    x, y = wcs.all_world2pix(stars["ra"], stars["dec"], 0)
    xw, yw, _ = sep.winpos(data, x, y, 1.1)
    assert np.median(np.hypot(xw - x, yw - y)) < 0.03
    alone = observation.truth.transients[observation.truth.transients["host"] == "none"]
    x, y = wcs.all_world2pix(alone["ra"], alone["dec"], 0)
    flux, error, _ = sep.sum_circle(data, x, y, 3.0, err=observation.truth.template.sky_rms)
    scale = 10 ** (0.4 * (observation.truth.template.zero_point - alone["mag"]))
    assert np.all(flux < 0.2 * scale + 5 * error)


def test_the_template_is_deeper_and_sharper_and_covers_the_image(observation):
    truth = observation.truth
    assert truth.template.fwhm < truth.science.fwhm
    deeper = truth.template.limiting_magnitude(3) - truth.science.limiting_magnitude(3)
    assert deeper > 1
    corners = np.array([[0, 0], [511, 0], [0, 511], [511, 511]])
    sky = truth.science.celestial().all_pix2world(corners, 0)
    inside = WCS(observation.template_header).all_world2pix(sky, 0)
    height, width = observation.template.shape
    assert np.all((inside > 0) & (inside < [width, height]))


def test_transients_have_the_signal_to_noise_that_the_truth_says(observation):
    transients = observation.truth.transients
    assert set(transients["host"]) == {"none", "galaxy"}
    assert np.all((transients["sn"] > 5.9) & (transients["sn"] < 101))
    bright = transients[(transients["host"] == "none") & (transients["sn"] > 15)]
    flux, _, _ = photometry(observation.image, bright, 5.0, SPEC.gain)
    expected = bright["flux"] * observation.truth.science.psf.enclosed(5.0)
    noise = np.sqrt(np.pi * 25 * observation.truth.science.sky_rms**2 + expected / SPEC.gain)
    assert np.all(abs(flux - expected) < 5 * noise)


def test_the_magnitude_of_a_transient_follows_from_its_flux(observation):
    truth = observation.truth
    transients = truth.transients
    magnitude = (
        -2.5 * np.log10(transients["flux"])
        + truth.science.zero_point
        + truth.science.colour_term * transients["colour"]
    )
    assert np.allclose(magnitude, transients["mag"])


def test_transients_on_galaxies_are_near_their_hosts(observation):
    transients = observation.truth.transients
    hosted = transients[transients["host"] == "galaxy"]
    assert len(hosted) > 0
    galaxies = {row["id"]: row for row in observation.truth.galaxies}
    for transient in hosted:
        host = galaxies[transient["host_id"]]
        place, centre = (SkyCoord(row["ra"], row["dec"], unit="deg") for row in (transient, host))
        assert place.separation(centre).arcsec == pytest.approx(transient["separation"], rel=0.02)
        assert transient["separation"] < 1.3 * host["half_light"]


def test_the_same_seed_gives_the_same_observation_and_another_seed_another(observation):
    small = dict(size=96, transients_alone=1, transients_on_galaxies=0)
    first, second, other = (render_observation(FieldSpec(seed=s, **small)) for s in (4, 4, 5))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.template, second.template)
    assert first.catalogue.values_equal(second.catalogue)["ra"].all()
    assert not np.array_equal(first.image, other.image)


def test_more_transients_leave_the_stars_where_they_were():
    few, many = (
        render_observation(FieldSpec(size=128, transients_alone=n, transients_on_galaxies=0))
        for n in (0, 1)
    )
    assert np.array_equal(few.truth.stars["x"], many.truth.stars["x"])
    assert np.array_equal(few.template, many.template)


def test_what_is_written_is_what_a_telescope_writes_and_reads_back(observation, tmp_path):
    paths = observation.write(tmp_path)
    with fits.open(paths["image"]) as hdus:
        header = hdus[0].header
        assert header["BITPIX"] == 16
        for key in ("DATE-OBS", "EXPTIME", "GAIN", "SATURATE", "FILTER", "OBJECT", "TELESCOP"):
            assert key in header
        assert np.array_equal(hdus[0].data, observation.image)
    with fits.open(paths["template"]) as hdus:
        assert hdus[0].data.dtype == np.dtype(">f4")
        assert hdus[0].header["GAIN"] == pytest.approx(15)
    catalogue = Table.read(paths["catalogue"])
    assert {"ra", "dec", "gmag", "e_gmag", "rmag", "e_rmag", "imag"} <= set(catalogue.colnames)
    truth = Truth.read(tmp_path)
    assert truth.science == observation.truth.science
    assert np.allclose(truth.transients["ra"], observation.truth.transients["ra"])
    assert list(truth.transients["host"]) == list(observation.truth.transients["host"])


def test_an_oblong_image_in_another_band_works():
    oblong = render_observation(FieldSpec(size=(160, 96), band="g", transients_on_galaxies=0))
    assert oblong.image.shape == (96, 160)
    assert oblong.header["FILTER"] == "g"
    assert oblong.truth.science.colour == "g-r"


def test_the_command_writes_an_observation_and_refuses_nonsense_in_one_sentence(tmp_path):
    written = CliRunner().invoke(main, ["--out", str(tmp_path), "--size", "96", "--seed", "7"])
    assert written.exit_code == 0, written.output
    assert Truth.read(tmp_path).seed == 7
    refused = CliRunner().invoke(main, ["--out", str(tmp_path), "--size", "5"])
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: The synthetic field needs at least 64 pixels")


def test_a_folder_without_truth_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(Permanent, match="holds no synthetic observation"):
        Truth.read(tmp_path)
