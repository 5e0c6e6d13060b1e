"""Does the inspection leave behind all that the later stages rely on?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.parameters import validate
from skyrelay.synthetic import FieldSpec, render_observation
from tests.support.stages import run_stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    render_observation(FieldSpec(seed=3, size=256)).write(tmp_path / "task")
    return tmp_path / "task"


def test_the_configuration_is_filled_from_header_and_defaults(folder: Path) -> None:
    config = run_stage("inspect", folder, {"observer": "Tycho"}).config
    assert (config["gain"], config["saturation"], config["filter"]) == (1.5, 60000.0, "r")
    assert config["time"].startswith("2024-05-14T23:12:41")
    assert (config["sn"], config["rel_aper"], config["rel_bg1"], config["rel_bg2"]) == (5, 1, 5, 7)
    assert (config["spatial_order"], config["minarea"], config["sub_size"]) == (2, 5, 1000)
    assert (config["cat_name"], config["template"], config["bg_size"]) == ("ps1", "ps1", 128)
    assert (config["refine_wcs"], config["blind_match_wcs"]) == (True, False)
    assert config["subtraction_mode"] == "detection"
    assert config["observer"] == "Tycho"
    # What the stage writes is what the next one may be given.
    assert validate(config).unknown == ("observer",)
    assert "observer: no stage reads this parameter" in (folder / "inspect.log").read_text()


def test_what_the_user_says_wins_over_the_header(folder: Path) -> None:
    said = {"gain": 2.5, "saturation": 30000.0, "filter": "g", "time": "2020-01-01 00:00:00"}
    config = run_stage("inspect", folder, said).config
    assert (config["gain"], config["saturation"], config["filter"]) == (2.5, 30000.0, "g")
    assert config["time"].startswith("2020-01-01T00:00:00")


def test_targets_are_found_by_coordinates_and_by_pixels(folder: Path) -> None:
    target = "SN 17:28:00.0 +48:00:00\n262.0 48.0\nx=100 y=120"
    result = run_stage("inspect", folder, {"target": target})
    targets = result.config["targets"]
    assert [round(each["ra"], 4) for each in targets[:2]] == [262.0, 262.0]
    assert (targets[2]["x"], targets[2]["y"]) == (100.0, 120.0)
    assert targets[2]["ra"] == pytest.approx(262.0, abs=0.1)
    assert result.config["target_ra"] == pytest.approx(262.0)
    assert result.config["subtraction_mode"] == "target"
    assert (folder / products.IMAGE_TARGET).exists()


def test_the_field_is_known_and_the_mask_covers_what_is_bad(folder: Path) -> None:
    with fits.open(folder / products.IMAGE) as hdus:
        pixels, header = hdus[0].data.astype(np.float32), hdus[0].header.copy()
    pixels[10:14, 20:24] = np.nan
    for keyword in ("BZERO", "BSCALE"):
        header.remove(keyword, ignore_missing=True)
    fits.writeto(folder / products.IMAGE, pixels, header, overwrite=True)
    custom = np.zeros(pixels.shape, np.uint8)
    custom[200:, :] = 1
    fits.writeto(folder / products.CUSTOM_MASK, custom)
    result = run_stage("inspect", folder, {})
    assert result.outcome is Outcome.DONE
    assert result.field is not None
    assert (result.field.ra, result.field.dec) == pytest.approx((262.0, 48.0), abs=0.005)
    mask = fits.getdata(folder / products.MASK)
    assert mask[10:14, 20:24].all() and mask[200:].all()
    assert 0.2 < result.values["masked_fraction"].value < 0.3


def test_an_image_without_coordinates_is_to_be_solved_blindly(folder: Path) -> None:
    pixels = fits.getdata(folder / products.IMAGE)
    fits.writeto(folder / products.IMAGE, pixels, overwrite=True)
    result = run_stage("inspect", folder, {})
    assert result.outcome is Outcome.DONE
    assert result.field is None
    assert result.config["blind_match_wcs"] is True


def test_another_image_is_inspected_anew(folder: Path) -> None:
    first = run_stage("inspect", folder, {}).config
    later = first | {"zp": 25.0, "fwhm": 3.0, "color_term": 0.1, "mag_limit": 20.0}
    pixels = np.random.default_rng(1).normal(500, 10, (200, 200)).astype(np.float32)
    cards = {"GAIN": 3.0, "SATURATE": 20000.0, "FILTER": "V", "DATE-OBS": "2020-02-02T02:02:02"}
    fits.writeto(folder / products.IMAGE, pixels, fits.Header(cards), overwrite=True)
    second = run_stage("inspect", folder, later).config
    assert (second["gain"], second["saturation"], second["filter"]) == (3.0, 20000.0, "V")
    assert second["time"].startswith("2020-02-02T02:02:02")
    assert (second["bg_size"], second["cat_name"]) == (100, "gaiadr3syn")
    assert second["blind_match_wcs"] is True
    for name in ("zp", "fwhm", "color_term", "mag_limit", "field_ra", "pixscale"):
        assert name not in second


def test_what_the_user_set_after_an_inspection_stays(folder: Path) -> None:
    first = run_stage("inspect", folder, {"cat_name": "sdss"}).config
    assert "cat_name" not in first["inspected"]
    second = run_stage("inspect", folder, first | {"gain": 2.5, "filter": "V"}).config
    assert (second["gain"], second["filter"], second["cat_name"]) == (2.5, "V", "sdss")
    third = run_stage("inspect", folder, second).config
    assert third == second


def test_the_mode_of_the_subtraction_follows_the_target(folder: Path) -> None:
    config = run_stage("inspect", folder, {}).config
    assert config["subtraction_mode"] == "detection"
    config = run_stage("inspect", folder, config | {"target": "262.0 48.0"}).config
    assert (config["subtraction_mode"], config["blind_match_center"]) == ("target", "262.0 48.0")
    config = run_stage("inspect", folder, config | {"target": None}).config
    assert config["subtraction_mode"] == "detection"
    assert not {"blind_match_center", "targets", "target_ra"} & set(config)


def test_a_repaired_image_is_inspected_as_the_original_was(folder: Path) -> None:
    """The first inspection writes the image anew; the second finds the same in it."""
    with fits.open(folder / products.IMAGE) as hdus:
        pixels, header = hdus[0].data.astype(np.int32), hdus[0].header.copy()
    for keyword in ("BZERO", "BSCALE", "GAIN", "SATURATE"):
        header.remove(keyword, ignore_missing=True)
    primary = fits.PrimaryHDU()
    for keyword in ("DATE-OBS", "FILTER"):
        primary.header[keyword] = header.pop(keyword)
    hdus = fits.HDUList([primary, fits.CompImageHDU(pixels, header)])
    hdus.writeto(folder / products.IMAGE, overwrite=True)
    first = run_stage("inspect", folder, {}).config
    assert first["time"].startswith("2024-05-14T23:12:41")
    assert len(fits.info(folder / products.IMAGE, output=False)) == 1
    assert run_stage("inspect", folder, first).config == first
