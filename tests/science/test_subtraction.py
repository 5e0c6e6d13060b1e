"""Does template subtraction find what is new and nothing else, in planes of the whole image?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from stdpipe.cutouts import load_cutout

from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.execute import StageResult
from skyrelay.synthetic import score_candidates
from tests.science.conftest import LEAST_FOUND, MOST_FALSE, Field
from tests.support import alard_lupton
from tests.support.fields import copied
from tests.support.stages import run_stage

PLANES = (
    products.SUB_IMAGE,
    products.SUB_MASK,
    products.SUB_TEMPLATE,
    products.SUB_TEMPLATE_MASK,
    products.SUB_CONVOLVED,
    products.SUB_DIFFERENCE,
    products.SUB_SCALED_DIFFERENCE,
    products.SUB_NOISE,
)


@pytest.fixture(scope="module")
def searched(
    transient_field: Field, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StageResult]:
    """The field after a search in the difference image."""
    folder = copied(transient_field.folder, tmp_path_factory.mktemp("subtraction"))
    return folder, run_stage("subtraction", folder, transient_field.photometry.config)


def test_most_transients_are_found_and_hardly_anything_else(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    folder, result = searched
    assert result.outcome is Outcome.DONE, result.reasons
    score = score_candidates(transient_field.truth, Table.read(folder / products.CANDIDATES))
    found, injected = score.counts(sn=(5.0, np.inf))
    assert found >= LEAST_FOUND * injected, score.missed
    assert len(score.false) <= MOST_FALSE, score.false
    assert score.duplicates == 0


def test_as_many_are_found_on_galaxies_as_alone(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    score = score_candidates(transient_field.truth, Table.read(searched[0] / products.CANDIDATES))
    found, injected = score.counts("galaxy", (6.0, np.inf))
    assert found >= 0.9 * injected, score.missed


def test_magnitudes_agree_with_the_truth_within_their_errors(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    candidates = Table.read(searched[0] / products.CANDIDATES)
    found = score_candidates(transient_field.truth, candidates).found
    seen = candidates[np.asarray(found["candidate"])]
    deviation = np.ma.filled(seen["mag_calib"] - found["mag"], np.nan)
    error = np.ma.filled(np.ma.asarray(seen["mag_calib_err"]), np.nan)
    assert abs(np.nanmedian(deviation)) < 0.03
    assert 0.7 < 1.48 * np.nanmedian(np.abs(deviation / error)) < 1.4


def test_difference_scatters_by_its_noise(searched: tuple[Path, StageResult]) -> None:
    assert searched[1].values["difference_noise_ratio"].value == pytest.approx(1.0, abs=0.06)


def test_every_plane_covers_the_whole_image_with_its_wcs(
    searched: tuple[Path, StageResult], transient_field: Field
) -> None:
    science = transient_field.truth.science
    assert searched[1].values["n_tiles"].value == 4
    for name in PLANES:
        data, header = fits.getdata(searched[0] / name, header=True)
        assert data.shape == (science.height, science.width), name
        assert "CRVAL1" in header and np.isfinite(data).all(), name
    mask = fits.getdata(searched[0] / products.SUB_MASK)
    assert mask.mean() < 0.05


def test_every_candidate_has_its_cutout_name_region_and_score(
    searched: tuple[Path, StageResult],
) -> None:
    folder, result = searched
    candidates = Table.read(folder / products.CANDIDATES)
    names = {"ra", "dec", "x", "y", "mag_calib", "mag_calib_err", "flags", "name", "cutout_name"}
    assert names | {"stamp", "rb_score", "sn", "mag_limit"} <= set(candidates.colnames)
    assert len(set(candidates["name"])) == len(candidates)
    assert result.values["n_candidates"].value == len(candidates)
    regions = (folder / products.CANDIDATES_REGIONS).read_text()
    for row in candidates:
        assert str(row["name"]) in regions
        assert 0 <= row["rb_score"] <= 1
        assert (folder / products.CANDIDATES_CUTOUTS / str(row["cutout_name"])).exists()
    cutout = load_cutout(
        str(folder / products.CANDIDATES_CUTOUTS / str(candidates[0]["cutout_name"]))
    )
    planes = {"image", "template", "convolved", "diff", "footprint", "mask"}
    assert planes <= set(cutout) and cutout["diff"].shape == (61, 61)


def test_all_products_of_a_search_are_there(searched: tuple[Path, StageResult]) -> None:
    target_mode = {products.SUB_TARGET, products.SUB_TARGET_CUTOUT}
    expected = set(products.products_of("subtraction")) - target_mode
    assert {name for name in expected if not (searched[0] / name).exists()} == set()


def test_target_mode_measures_the_target_in_the_difference(
    small_field: Field, tmp_path: Path
) -> None:
    folder = copied(small_field.folder, tmp_path)
    transients = small_field.truth.transients
    row = transients[np.argmax(transients["sn"])]
    config = {
        **small_field.photometry.config,
        "subtraction_mode": "target",
        "targets": [{"name": "new", "ra": float(row["ra"]), "dec": float(row["dec"])}],
    }
    result = run_stage("subtraction", folder, config)
    assert result.outcome is Outcome.DONE, result.reasons
    target = Table.read(folder / products.SUB_TARGET)[0]
    assert target["mag_calib"] == pytest.approx(row["mag"], abs=5 * target["mag_calib_err"] + 0.02)
    assert (folder / products.SUB_TARGET_CUTOUT).exists()
    assert not (folder / products.CANDIDATES).exists()


def test_targets_where_there_is_no_template_are_not_measured(
    small_field: Field, tmp_path: Path
) -> None:
    folder = copied(small_field.folder, tmp_path)
    rows = small_field.truth.transients
    rows = rows[np.argsort(-np.asarray(rows["sn"]))][:2]
    template = folder / products.CUSTOM_TEMPLATE
    data, header = fits.getdata(template, header=True)
    x, y = WCS(header).all_world2pix(rows["ra"][1:], rows["dec"][1:], 0)
    column, row = round(x[0]), round(y[0])
    data[row - 4 : row + 5, column - 4 : column + 5] = np.nan
    fits.writeto(template, data, header, overwrite=True)
    targets = [
        {"name": name, "ra": float(each["ra"]), "dec": float(each["dec"])}
        for name, each in zip(("seen", "hidden"), rows, strict=True)
    ]
    config = {
        **small_field.photometry.config,
        "subtraction_mode": "target",
        "targets": targets,
    }
    result = run_stage("subtraction", folder, config)
    assert result.outcome is Outcome.DEGRADED
    assert "Target hidden lies on pixels that cannot be measured." in result.reasons
    assert result.values["target_0_mag"].value is not None
    for what in ("mag", "sn", "mag_limit"):
        assert result.values[f"target_1_{what}"].value is None
    assert Table.read(folder / products.SUB_TARGET)["mag_limit"][1] is np.ma.masked


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"remove": True}, "upload it as custom_template.fits"),
        ({"offset": 3.0}, "shows another field"),
        ({"stars": False}, "their stars do not match"),
        ({"garbage": True}, "custom_template.fits"),
        ({"method": "hotpants"}, "HOTPANTS is not installed"),
        ({"mode": "target"}, "no target"),
        ({"blank": True}, "subtraction failed"),
        ({"mask": True}, "must be the same"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_cannot_be_subtracted_fails_with_a_sentence(
    small_field: Field, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    folder = copied(small_field.folder, tmp_path)
    template = folder / products.CUSTOM_TEMPLATE
    data, header = fits.getdata(template, header=True)
    config = dict(small_field.photometry.config)
    if "offset" in change:
        header["CRVAL1"] += change["offset"]
    if "stars" in change:
        noise = np.random.default_rng(1).normal(100, 5, data.shape)
        data, header = noise.astype(np.float32), fits.Header()
    if "blank" in change:
        data = np.zeros_like(data)
    fits.writeto(template, data, header, overwrite=True)
    if "remove" in change:
        template.unlink()
    if "garbage" in change:
        template.write_bytes(b"not a FITS file" * 1000)
    if "mask" in change:
        fits.writeto(folder / products.CUSTOM_TEMPLATE_MASK, np.zeros((90, 40), np.uint8))
    config["subtraction_method"] = change.get("method", "sfft")
    config["subtraction_mode"] = change.get("mode", "detection")
    settings = Settings(_env_file=None, stdpipe_hotpants="/nowhere/hotpants")
    result = run_stage("subtraction", folder, config, settings)
    assert result.outcome is Outcome.FAILED
    assert sentence in result.reasons[0] and "Internal error" not in result.reasons[0]


def test_hotpants_does_it_where_the_settings_name_one(
    transient_field: Field, tmp_path: Path
) -> None:
    folder = copied(transient_field.folder, tmp_path)
    settings = Settings(_env_file=None, stdpipe_hotpants=str(alard_lupton.install(tmp_path)))
    config = {**transient_field.photometry.config, "sub_verbose": True}
    result = run_stage("subtraction", folder, config, settings)
    assert result.outcome is Outcome.DONE, result.reasons
    assert result.values["method"].value == "hotpants"
    assert "-ko 0" in (folder / "subtraction.log").read_text()
    score = score_candidates(transient_field.truth, Table.read(folder / products.CANDIDATES))
    found, injected = score.counts(sn=(6.0, np.inf))
    assert found >= 0.9 * injected, score.missed
    assert len(score.false) <= 0.05 * len(score.found), score.false


def test_template_without_wcs_is_aligned_on_the_stars(
    transient_field: Field, tmp_path: Path
) -> None:
    folder = copied(transient_field.folder, tmp_path)
    template = folder / products.CUSTOM_TEMPLATE
    fits.writeto(template, fits.getdata(template), overwrite=True)
    result = run_stage("subtraction", folder, transient_field.photometry.config)
    assert result.outcome is Outcome.DONE, result.reasons
    score = score_candidates(transient_field.truth, Table.read(folder / products.CANDIDATES))
    found, injected = score.counts(sn=(6.0, np.inf))
    assert found >= 0.9 * injected, score.missed
    assert len(score.false) <= 0.05 * len(score.found), score.false


def test_template_of_half_the_field_makes_the_result_degraded(
    small_field: Field, tmp_path: Path
) -> None:
    folder = copied(small_field.folder, tmp_path)
    template = folder / products.CUSTOM_TEMPLATE
    data, header = fits.getdata(template, header=True)
    data[:, : data.shape[1] * 5 // 8] = np.nan
    fits.writeto(template, data, header, overwrite=True)
    config = {**small_field.photometry.config, "sub_size": 180}
    result = run_stage("subtraction", folder, config)
    assert result.outcome is Outcome.DEGRADED
    assert any("does not cover it" in reason for reason in result.reasons)
    failed, tiles = result.values["n_tiles_failed"].value, result.values["n_tiles"].value
    assert isinstance(failed, int) and isinstance(tiles, int) and 0 < failed < tiles
    mask = fits.getdata(folder / products.SUB_MASK)
    assert mask[:, :150].all() and not mask[:, 450:-20].all()
