"""Are objects found that no catalogue knows, without a template and without the network?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.execute import StageResult
from skyrelay.synthetic import score_candidates
from tests.science.conftest import MOST_FALSE, Field
from tests.support.fields import copied
from tests.support.stages import run_stage

STEP = "simple_transients"


@pytest.fixture(scope="module")
def searched(
    transient_field: Field, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StageResult]:
    """The field after a search by catalogue, with every parameter at its default."""
    folder = copied(transient_field.folder, tmp_path_factory.mktemp("simple"))
    return folder, run_stage(STEP, folder, transient_field.photometry.config)


def test_most_transients_are_found_and_hardly_anything_else(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    folder, result = searched
    assert result.outcome is Outcome.DONE, result.reasons
    candidates = Table.read(folder / products.CANDIDATES_SIMPLE)
    score = score_candidates(transient_field.truth, candidates)
    found, injected = score.counts(sn=(5.0, np.inf))
    assert found >= 0.6 * injected, score.missed
    assert len(score.false) <= MOST_FALSE, score.false


def test_some_transients_on_galaxies_are_found(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    candidates = Table.read(searched[0] / products.CANDIDATES_SIMPLE)
    score = score_candidates(transient_field.truth, candidates)
    found, injected = score.counts("galaxy", (5.0, np.inf))
    assert found >= injected / 3


def test_all_products_are_there_and_belong_together(
    searched: tuple[Path, StageResult],
) -> None:
    folder, result = searched
    assert all((folder / name).exists() for name in products.products_of(STEP))
    candidates = Table.read(folder / products.CANDIDATES_SIMPLE)
    assert result.values["n_candidates"].value == len(candidates) > 0
    names = {"ra", "dec", "x", "y", "mag_calib", "mag_calib_err", "flags", "name", "cutout_name"}
    assert names | {"stamp"} <= set(candidates.colnames)
    magnitudes = np.asarray(candidates["mag_calib"])
    assert np.all(np.diff(magnitudes) >= 0)
    for row in candidates:
        assert (folder / products.CANDIDATES_SIMPLE_CUTOUTS / str(row["cutout_name"])).exists()


def test_only_the_region_asked_for_is_searched(transient_field: Field, tmp_path: Path) -> None:
    folder = copied(transient_field.folder, tmp_path)
    truth = transient_field.truth.transients[0]
    centre = f"{truth['ra']:.6f} {truth['dec']:+.6f}"
    config = {**transient_field.photometry.config, "simple_center": centre, "simple_sr0": 0.02}
    run_stage(STEP, folder, config)
    candidates = Table.read(folder / products.CANDIDATES_SIMPLE)
    assert np.all(np.abs(candidates["dec"] - truth["dec"]) < 0.02)


def test_other_tasks_objects_are_left_out_or_named_as_missing(
    searched: tuple[Path, StageResult], transient_field: Field, tmp_path: Path
) -> None:
    folder = copied(transient_field.folder, tmp_path)
    settings = Settings(_env_file=None, data_path=tmp_path / "data", tasks_path=tmp_path / "tasks")
    known = Table.read(searched[0] / products.CANDIDATES_SIMPLE)[:5]
    for number, objects in {7: known["ra", "dec"], 9: known["x", "y"]}.items():
        place = settings.tasks_path / str(number)
        place.mkdir(parents=True)
        objects.write(place / products.OBJECTS)
    (settings.tasks_path / "10").mkdir()
    (settings.tasks_path / "10" / products.OBJECTS).write_bytes(b"no table")
    config = {**transient_field.photometry.config, "simple_others": [7, 8, 9, 10]}
    result = run_stage(STEP, folder, config, settings)
    assert result.outcome is Outcome.DEGRADED
    assert [reason.split(":")[0] for reason in result.reasons] == [
        f"The objects of task {number} were not compared" for number in (8, 9, 10)
    ]
    left = Table.read(folder / products.CANDIDATES_SIMPLE)
    assert not set(known["name"]) & set(left["name"])


def test_catalogue_that_lists_the_transients_leaves_no_candidate(
    transient_field: Field, tmp_path: Path
) -> None:
    folder = copied(transient_field.folder, tmp_path)
    catalogue = Table.read(folder / products.CATALOGUE)
    objects = Table.read(folder / products.OBJECTS)
    listed = Table({name: np.full(len(objects), np.nan) for name in catalogue.colnames})
    listed["RAJ2000"], listed["DEJ2000"] = objects["ra"], objects["dec"]
    column = transient_field.photometry.config["cat_col_mag"]
    listed[column] = np.asarray(objects["mag_calib"], dtype=float)
    (folder / products.CATALOGUE).unlink()
    listed.write(folder / products.CATALOGUE)
    result = run_stage(STEP, folder, transient_field.photometry.config)
    assert result.values["n_candidates"].value == 0
    assert len(Table.read(folder / products.CANDIDATES_SIMPLE)) == 0


def test_without_photometry_the_reason_is_told(transient_field: Field, tmp_path: Path) -> None:
    folder = copied(transient_field.folder, tmp_path)
    (folder / products.OBJECTS).unlink()
    result = run_stage(STEP, folder, transient_field.photometry.config)
    assert result.outcome is Outcome.FAILED and "run the photometry first" in result.reasons[0]
