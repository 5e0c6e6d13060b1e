"""Are candidates and zero points compared with the truth correctly?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from skyrelay.synthetic import (
    FieldSpec,
    render_observation,
    score_candidates,
    zero_point_deviation,
)
from skyrelay.synthetic.evaluation import astrometric_residuals


@pytest.fixture(scope="module")
def truth():
    return render_observation(FieldSpec(seed=2, size=320, transients_alone=6, cosmic_rays=0)).truth


def candidates_at(rows, offset=0.0):
    return Table({"ra": rows["ra"], "dec": rows["dec"] + offset / 3600})


def test_found_missed_and_false_are_told_apart(truth):
    seen = candidates_at(truth.transients[1:], offset=0.5)
    seen.add_row((truth.stars["ra"][0], truth.stars["dec"][0]))
    score = score_candidates(truth, seen)
    assert len(score.found) == len(truth.transients) - 1
    assert list(score.missed["id"]) == [truth.transients["id"][0]]
    assert len(score.false) == 1
    assert score.duplicates == 0
    assert np.allclose(score.found["distance"], 0.5, atol=1e-3)
    assert list(score.found["candidate"]) == list(range(len(truth.transients) - 1))


def test_a_transient_seen_twice_is_found_once_and_not_false(truth):
    seen = candidates_at(truth.transients[[0, 0]])
    seen["dec"][1] += 0.8 / 3600
    score = score_candidates(truth, seen)
    assert (len(score.found), len(score.false), score.duplicates) == (1, 0, 1)
    assert score.found["candidate"][0] == 0


def test_a_candidate_beyond_the_radius_is_false(truth):
    seen = candidates_at(truth.transients[:1], offset=3)
    assert len(score_candidates(truth, seen, radius=2).false) == 1
    assert len(score_candidates(truth, seen, radius=4).found) == 1


def test_no_candidates_means_all_missed(truth):
    score = score_candidates(truth, Table())
    assert len(score.found) == 0
    assert len(score.missed) == len(truth.transients)
    assert score.counts() == (0, len(truth.transients))
    assert score.false.colnames == ["cause"]


def test_counts_split_by_host_and_signal_to_noise(truth):
    score = score_candidates(truth, candidates_at(truth.transients))
    alone, hosted = score.counts("none"), score.counts("galaxy")
    assert alone == (6, 6)
    assert alone[1] + hosted[1] == len(truth.transients)
    bright = int(np.sum(truth.transients["sn"] >= 20))
    assert score.counts(sn=(20, np.inf)) == (bright, bright)
    summary = score.summary()
    assert summary["injected"].sum() == summary["found"].sum() == len(truth.transients)


def test_false_candidates_are_put_down_to_what_is_there(truth):
    column = truth.bad_columns[0]
    ra, dec = truth.science.celestial().all_pix2world([column["x"]], [column["first"]], 0)
    star = truth.stars[np.argsort(truth.stars["r"])[0]]
    seen = Table({"ra": [ra[0], star["ra"]], "dec": [dec[0], star["dec"]]})
    causes = list(score_candidates(truth, seen).false["cause"])
    assert causes[0] == "bad column"
    assert "star" in causes[1]


def test_the_zero_point_of_an_aperture_is_smaller_than_that_of_the_total_flux(truth):
    image = truth.science
    assert image.zero_point - image.zero_point_at(3.5) == pytest.approx(0.29, abs=0.08)
    assert image.zero_point_at(80) == pytest.approx(image.zero_point, abs=1e-3)


def test_deviation_of_the_zero_point_knows_aperture_and_colour(truth):
    image = truth.science
    right = image.zero_point_at(4.0)
    assert zero_point_deviation(image, right + 0.01, radius=4.0) == pytest.approx(0.01)
    without_colour_term = right + 0.8 * image.colour_term
    assert zero_point_deviation(image, without_colour_term, 4.0, colour=0.8) == pytest.approx(0)


def test_a_perfect_wcs_has_no_residuals(truth):
    assert astrometric_residuals(truth, truth.science.celestial()).max() < 1e-6
    shifted = WCS(truth.science.celestial().to_header(relax=True))
    shifted.wcs.crval = shifted.wcs.crval + np.array([0, 1 / 3600])
    assert astrometric_residuals(truth, shifted) == pytest.approx(1, abs=0.01)
