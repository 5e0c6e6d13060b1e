"""Does a fit of profiles measure crowded stars better than apertures, with honest errors?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.synthetic import FieldSpec, Truth, render_observation
from tests.support.fields import copied
from tests.support.stages import run_stage

#: Six times as many stars as at a galactic latitude of 30 degrees, so that apertures overlap.
CROWDED = FieldSpec(
    seed=3,
    size=512,
    crowding=6,
    galaxy_density=100,
    transients_alone=0,
    transients_on_galaxies=0,
    template_depth=1,
)

#: Largest share of its flux that stars nearer than a FWHM, which no method tells apart, may add.
MOST_BLENDED = 0.01


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    """Calibrated deviation and error of stars, by each method."""
    folder = tmp_path_factory.mktemp("crowded") / "task"
    observation = render_observation(CROWDED)
    observation.write(folder)
    config = {"cat_name": "local", "cat_file": "catalogue.vot", "spatial_order": 0}
    inspection = run_stage("inspect", folder, config)
    tables = {}
    for method in ("aperture", "psf"):
        copy = copied(folder, tmp_path_factory.mktemp(method))
        chosen = inspection.config | {"photometry_method": method}
        result = run_stage("photometry", copy, chosen)
        assert result.outcome is Outcome.DONE, result.reasons
        assert result.config["optimal_extraction"] is False
        tables[method] = deviations(copy, observation.truth)
    return tables


def deviations(folder: Path, truth: Truth) -> Table:
    """``deviation`` and ``error`` in mag of the objects that lie on a star that stands out."""
    stars = truth.stars
    objects = Table.read(folder / products.OBJECTS)
    tree = cKDTree(np.c_[stars["x"], stars["y"]])
    flux = np.asarray(stars["flux"])
    rows = []
    for row in objects:
        near = tree.query_ball_point([row["x"], row["y"]], truth.science.fwhm)
        if not near:
            continue
        star = max(near, key=lambda index: flux[index])
        blended = sum(flux[near]) - flux[star] > MOST_BLENDED * flux[star]
        if blended or stars["saturated"][star] or flux[star] < 3000:
            continue
        magnitude = truth.science.zero_point - 2.5 * np.log10(flux[star])
        rows.append((row["mag_calib"] - magnitude, row["mag_calib_err"]))
    return Table(rows=rows, names=["deviation", "error"])


def scatter(values: np.ndarray) -> float:
    """Robust standard deviation about the median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def test_crowded_stars_scatter_less_than_in_apertures(measured: dict[str, Table]) -> None:
    aperture, psf = (np.asarray(measured[name]["deviation"]) for name in ("aperture", "psf"))
    assert len(aperture) > 100 and len(psf) > 100
    assert scatter(psf) < 0.85 * scatter(aperture)


def test_errors_of_crowded_stars_are_honest(measured: dict[str, Table]) -> None:
    psf = measured["psf"]
    assert 0.8 < scatter(np.asarray(psf["deviation"] / psf["error"])) < 1.3


def test_zero_point_is_that_of_the_aperture(measured: dict[str, Table]) -> None:
    assert abs(np.median(measured["psf"]["deviation"])) < 0.02
