"""Is the synthetic sky populated as the real one is?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from skyrelay.errors import Permanent
from skyrelay.synthetic import FieldSpec
from skyrelay.synthetic.catalogue import observe_catalogue
from skyrelay.synthetic.galaxies import make_galaxies
from skyrelay.synthetic.population import area, make_stars, stellar_locus

SPEC = FieldSpec(seed=5, size=2048)


@pytest.fixture(scope="module")
def stars():
    return make_stars(SPEC)


@pytest.fixture(scope="module")
def galaxies():
    return make_galaxies(SPEC)


def count_slope(magnitudes, bright, middle, faint):
    """d log10 N / dm of cumulative counts that follow one power law from `bright` on."""
    counts = [np.sum((magnitudes > bright) & (magnitudes < limit)) for limit in (middle, faint)]
    return np.log10(counts[1] / counts[0]) / (faint - middle)


def test_star_counts_have_the_density_and_the_slope_asked_for(stars):
    density = np.sum(stars["r"] < 20) / area(SPEC)
    assert density == pytest.approx(SPEC.star_density, rel=0.06)
    assert count_slope(stars["r"], 0, 18, 22) == pytest.approx(0.23, abs=0.02)


def test_galaxy_counts_are_euclidean_when_bright_and_flatter_when_faint(galaxies):
    density = np.sum(galaxies["r"] < 20) / area(SPEC)
    assert density == pytest.approx(SPEC.galaxy_density, rel=0.15)
    assert count_slope(galaxies["r"], 0, 17.5, 19) == pytest.approx(0.60, abs=0.12)
    assert count_slope(galaxies["r"], 0, 20.5, 23) == pytest.approx(0.42, abs=0.04)


def test_stars_lie_on_the_stellar_locus_with_a_blue_and_a_red_peak(stars):
    gr, ri = stars["g"] - stars["r"], stars["r"] - stars["i"]
    assert np.std(gr - stellar_locus(np.asarray(ri))) == pytest.approx(0.03, abs=0.003)
    counts, edges = np.histogram(gr, bins=np.arange(0, 1.7, 0.1))
    blue, red = edges[np.argmax(counts[:8])], edges[8 + np.argmax(counts[8:])]
    assert 0.3 <= blue < 0.7
    assert 1.2 < red < 1.6


def test_solar_colours_come_out_of_the_locus():
    # The Sun has r-i = 0.12 and g-r = 0.44 in SDSS bands, within a few hundredths.
    assert stellar_locus(np.array([0.14])) == pytest.approx(0.42, abs=0.03)


def test_fainter_galaxies_are_smaller(galaxies):
    discs = galaxies[galaxies["sersic"] == 1]
    bright, faint = discs[discs["r"] < 19], discs[discs["r"] > 22]
    assert np.median(bright["half_light"]) > 1.5 * np.median(faint["half_light"])
    assert 0.2 < np.median(faint["half_light"]) < 1.5


def test_crowding_multiplies_the_stars():
    few, many = (make_stars(FieldSpec(size=512, crowding=factor)) for factor in (1, 4))
    assert len(many) == pytest.approx(4 * len(few), rel=0.1)


def test_the_catalogue_is_wrong_by_as_much_as_it_says(stars, galaxies):
    catalogue = observe_catalogue(SPEC, stars, galaxies[:0])
    listed = catalogue[catalogue["e_rmag"] < 0.1]
    places = SkyCoord(listed["ra"], listed["dec"])
    nearest, distance, _ = places.match_to_catalog_sky(
        SkyCoord(stars["ra"], stars["dec"], unit="deg")
    )
    own = distance.arcsec < 5 * listed["e_ra"].value
    assert own.mean() > 0.99
    pull = (listed["rmag"].value - stars["r"][nearest])[own] / listed["e_rmag"].value[own]
    assert np.median(np.abs(pull)) * 1.4826 == pytest.approx(1, abs=0.08)


def test_the_catalogue_ends_at_its_depth_and_holds_galaxies(stars, galaxies):
    everything = observe_catalogue(SPEC, stars, galaxies)
    only_stars = observe_catalogue(SPEC, stars, galaxies[:0])
    assert len(everything) > 1.1 * len(only_stars)
    assert np.nanmax(only_stars["e_rmag"]) < 0.2
    assert np.max(only_stars["rmag"]) < SPEC.catalogue_depth + 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fwhm": 0}, "fwhm above zero"),
        ({"size": 10}, "at least 64 pixels"),
        ({"band": "V"}, "band must be one of"),
        ({"beta": 1.0}, "beta above 1"),
        ({"dec": 89.0}, "5 degrees from the poles"),
        ({"ellipticity": 0.9}, "between 0 and 0.8"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(Permanent, match=says):
        FieldSpec(**wrong)
