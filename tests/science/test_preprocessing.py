"""Do changes of the image before its inspection do what they say, and can they be taken back?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import mad_std

from skyrelay import products
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.wcs import wcs_of
from skyrelay.messages import Outcome
from skyrelay.synthetic import FieldSpec, render_observation
from tests.support.fields import copied
from tests.support.stages import run_stage

ROWS, COLUMNS = np.mgrid[:256, :256]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task with an inspected image; tests must not change it."""
    folder = tmp_path_factory.mktemp("observed") / "task"
    render_observation(FieldSpec(seed=3, size=256)).write(folder)
    run_stage("inspect", folder, {})
    return folder


@pytest.fixture
def folder(observed: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it; whatever a test does, the original image must come back at the end."""
    before = (observed / products.IMAGE).read_bytes()
    folder = copied(observed, tmp_path)
    yield folder
    if (folder / products.IMAGE_ORIGINAL).exists():
        assert run_stage("reset", folder, {}).outcome is Outcome.DONE
        assert (folder / products.IMAGE).read_bytes() == before
        assert not (folder / products.IMAGE_ORIGINAL).exists()


def pixels(folder: Path) -> Any:
    return read_image(folder / products.IMAGE).data


def disturb(folder: Path, pattern: Any) -> Any:
    """Add a pattern to the image as a telescope would have; the undisturbed pixels."""
    image = read_image(folder / products.IMAGE)
    fits.writeto(
        folder / products.IMAGE, (image.data + pattern).astype(np.float32), image.header,
        overwrite=True,
    )  # fmt: skip
    return image.data


def test_a_crop_keeps_every_star_where_it_is_on_the_sky(folder: Path) -> None:
    before = read_image(folder / products.IMAGE)
    custom = (ROWS > 100).astype(np.uint8)
    fits.writeto(folder / products.CUSTOM_MASK, custom)
    (folder / products.CUSTOM_MASK_AREAS).write_text("{}")
    crop = {"crop_x1": 20, "crop_y1": 30, "crop_x2": -16}
    result = run_stage("crop", folder, {"sn": 4.0, "fwhm": 3.0, **crop})
    assert result.outcome is Outcome.DONE, result.reasons
    # Neither the box of this crop nor what was measured before stays for the next step.
    assert result.config == {"sn": 4.0}
    after = read_image(folder / products.IMAGE)
    np.testing.assert_array_equal(after.data, before.data[30:, 20:240])
    np.testing.assert_array_equal(fits.getdata(folder / products.CUSTOM_MASK), custom[30:, 20:240])
    assert not (folder / products.CUSTOM_MASK_AREAS).exists()
    place = wcs_of(before.header).all_pix2world(120, 130, 0)
    assert wcs_of(after.header).all_world2pix(*place, 0) == pytest.approx((100, 100), abs=1e-6)
    assert not (folder / products.MASK).exists()
    assert run_stage("inspect", folder, result.config).outcome is Outcome.DONE


@pytest.mark.parametrize(
    "crop", [{"crop_x1": 250}, {"crop_x1": 100, "crop_x2": 50}, {"crop_y2": -256}]
)
def test_a_crop_that_leaves_nothing_is_refused(folder: Path, crop: dict[str, int]) -> None:
    result = run_stage("crop", folder, crop)
    assert result.outcome is Outcome.FAILED
    assert "Nothing would be left of the image" in result.reasons[0]
    assert not (folder / products.IMAGE_ORIGINAL).exists()


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "both"])
def test_stripes_go_and_stars_stay(observed: Path, tmp_path: Path, direction: str) -> None:
    folder = copied(observed, tmp_path)
    rng = np.random.default_rng(5)
    rows, columns = rng.normal(0, 30, (256, 1)), rng.normal(0, 30, (1, 256))
    stripes = rows * (direction != "vertical") + columns * (direction != "horizontal")
    clean = disturb(folder, stripes)
    result = run_stage("destripe", folder, {"destripe_direction": direction})
    assert result.outcome is Outcome.DONE
    left = pixels(folder) - clean
    # The detector's bad columns are stripes too.
    assert mad_std(left) < 0.25 * mad_std(stripes)
    assert "destripe_direction" not in result.config


def test_fringes_go_and_their_model_is_kept(observed: Path, tmp_path: Path) -> None:
    folder = copied(observed, tmp_path)
    fringes = 25 * np.sin(2 * np.pi * (COLUMNS + 0.3 * ROWS) / 60)
    clean = disturb(folder, fringes)
    assert run_stage("remove_fringes", folder, {}).outcome is Outcome.DONE
    left = pixels(folder) - clean
    assert np.std(left - np.median(left)) < 0.5 * np.std(fringes)
    model = fits.getdata(folder / products.FRINGE_MODEL)
    assert np.corrcoef(model.ravel(), fringes.ravel())[0, 1] > 0.9
    assert run_stage("reset", folder, {}).outcome is Outcome.DONE
    assert not (folder / products.FRINGE_MODEL).exists()


@pytest.mark.parametrize("method", ["sep", "photutils", "morphology"])
@pytest.mark.parametrize("divide", [False, True])
def test_an_uneven_background_becomes_even(
    observed: Path, tmp_path: Path, method: str, divide: bool
) -> None:
    folder = copied(observed, tmp_path)
    clean = disturb(folder, 2.0 * COLUMNS)
    corners = slice(20, 60), slice(196, 236)

    def slope(data: Any) -> float:
        return float(np.median(data[:, corners[1]]) - np.median(data[:, corners[0]]))

    before = slope(pixels(folder))
    assert before > slope(clean) + 300
    config = {"remove_bg_method": method, "remove_bg_size": 64, "remove_bg_divide": divide}
    result = run_stage("remove_background", folder, config)
    assert result.outcome is Outcome.DONE, result.reasons
    # The coarse meshes of the others lag behind at the edges of so small an image.
    assert abs(slope(pixels(folder))) < (0.1 if method == "sep" else 0.4) * before
    level = result.values["background"].value
    assert np.median(pixels(folder)) == pytest.approx(level if divide else 0, abs=0.15 * level)


def test_a_background_that_is_not_positive_is_not_divided_by(folder: Path) -> None:
    disturb(folder, -5000)
    result = run_stage("remove_background", folder, {"remove_bg_divide": True})
    assert result.outcome is Outcome.FAILED
    assert "not positive" in result.reasons[0]


def test_a_fixed_file_is_plain_and_has_the_refined_solution(folder: Path) -> None:
    image = read_image(folder / products.IMAGE)
    image.header["CRVAL1"] += 0.01
    refined = image.header.copy()
    refined["CRVAL1"] = 262.5
    fits.PrimaryHDU(header=refined).writeto(folder / products.IMAGE_WCS)
    primary = fits.PrimaryHDU()
    fits.HDUList([primary, fits.CompImageHDU(image.data, image.header)]).writeto(
        folder / products.IMAGE, overwrite=True
    )
    before = (folder / products.IMAGE).read_bytes()
    result = run_stage("fix", folder, {"fwhm": 3.0})
    assert result.outcome is Outcome.DONE
    assert result.config == {"fwhm": 3.0}
    with fits.open(folder / products.IMAGE) as hdus:
        assert len(hdus) == 1 and hdus[0].shape == (256, 256)
        assert hdus[0].header["CRVAL1"] == 262.5
    assert (folder / products.IMAGE_ORIGINAL).read_bytes() == before
    (folder / products.IMAGE_ORIGINAL).unlink()


def test_the_first_image_is_the_original_however_often_it_is_changed(folder: Path) -> None:
    before = (folder / products.IMAGE).read_bytes()
    run_stage("destripe", folder, {})
    run_stage("crop", folder, {"crop_x1": 10})
    run_stage("remove_background", folder, {})
    assert (folder / products.IMAGE_ORIGINAL).read_bytes() == before


def test_without_a_change_there_is_nothing_to_reset(folder: Path) -> None:
    result = run_stage("reset", folder, {})
    assert result.outcome is Outcome.FAILED
    assert "never changed" in result.reasons[0]


def test_an_archive_keeps_what_was_brought_and_all_that_is_known(folder: Path) -> None:
    config = run_stage("inspect", folder, {"gain": 2.0, "target": "262.0 48.0"}).config
    (folder / products.CUSTOM_TEMPLATE).write_bytes(b"template")
    (folder / products.CANDIDATES_CUTOUTS).mkdir()
    result = run_stage("archive", folder, config)
    assert result.outcome is Outcome.DONE
    assert result.config == config and "inspected" in result.config
    assert {path.name for path in folder.iterdir()} == {
        *(products.IMAGE, products.CUSTOM_TEMPLATE),
        *("archive.log", "archive_results.json"),
    }


def test_cleanup_leaves_the_image_and_what_the_user_said(folder: Path) -> None:
    config = run_stage("inspect", folder, {"gain": 2.0, "target": "262.0 48.0"}).config
    run_stage("destripe", folder, dict(config))
    (folder / products.CANDIDATES_CUTOUTS).mkdir()
    (folder / ".record").write_text("not ours")
    (folder / "note.txt").write_text("a note")
    (folder / products.FRINGE_MODEL).write_bytes(b"model")
    result = run_stage("cleanup", folder, config)
    assert result.outcome is Outcome.DONE
    assert result.field is None
    assert result.config.pop("sn") == 5
    assert result.config["gain"] == 2.0 and result.config["target"] == "262.0 48.0"
    assert not {"targets", "target_ra", "filter", "field_ra", "inspected"} & set(result.config)
    assert {path.name for path in folder.iterdir()} == {
        *(products.IMAGE, products.IMAGE_ORIGINAL, products.FRINGE_MODEL),
        *(".record", "cleanup.log", "cleanup_results.json"),
    }
