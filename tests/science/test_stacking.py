"""Is a stack as deep, as sharp and as truthful about itself as its frames allow?"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sep
from astropy.io import fits

from services.stacking import combination
from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.stack_frames import StackFrames
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.execute import StageResult
from skyrelay.store.inputs import find_input, task_of
from tests.support.frames import FWHM, Pointing, Sky, write_frame
from tests.support.stages import run_stage

POINTINGS = (
    Pointing(),
    Pointing(6.3, -4.7),
    Pointing(-8.4, 3.2, 4.0),
    Pointing(2.5, 9.6, -3.0),
    Pointing(0.2, 0.4, 1.0),
)
NAMES = [f"night/frame{number}.fits" for number in range(len(POINTINGS))]
FIELD = Sky.of(seed=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with frames of one field, with and without coordinates."""
    data = tmp_path_factory.mktemp("data")
    for number, (name, pointing) in enumerate(zip(NAMES, POINTINGS, strict=True)):
        pixels = FIELD.frame(pointing, seed=number)
        # A cosmic ray, elsewhere in each.
        pixels[140 + 3 * number, 150:158] += 5000
        write_frame(data / name, pixels, pointing, number=number)
        write_frame(data / "lost" / name, pixels, pointing, number=number, located=False)
    return data


def stack(data: Path, folder: Path, **config: Any) -> StageResult:
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(_env_file=None, data_path=data, tasks_path=data.parent / "tasks")
    return run_stage("stack", folder, {"stack_filenames": NAMES, **config}, settings)


def light_of_stars(folder: Path) -> tuple[Any, Any]:
    """Measured over true light of each star, on the pixels of the first frame; which are inside."""
    image = read_image(folder / products.IMAGE).data.astype(np.float64)
    x, y = POINTINGS[0].wcs(300).all_world2pix(FIELD.ra, FIELD.dec, 0)
    covered = np.array(
        [np.isfinite(image[int(b) - 12 : int(b) + 13, int(a) - 12 : int(a) + 13]).all()
         for a, b in zip(x, y, strict=True)]
    )  # fmt: skip
    filled = np.nan_to_num(image)
    flux, _, _ = sep.sum_circle(filled - np.nanmedian(image), x, y, 2 * FWHM)
    return flux / FIELD.light, covered & (np.abs(y - 146) > 30) & (FIELD.light > 1e4)


@pytest.mark.parametrize("reprojection", ["adaptive", "swarp"])
@pytest.mark.parametrize(("method", "factor"), [("sum", 5), ("clipped_mean", 1), ("median", 1)])
def test_light_is_kept_and_noise_goes_down(
    data: Path, tmp_path: Path, method: str, factor: float, reprojection: str
) -> None:
    result = stack(data, tmp_path / "task", stack_method=method, stack_reprojection=reprojection)
    assert result.outcome is Outcome.DONE, result.reasons
    ratio, usable = light_of_stars(tmp_path / "task")
    assert usable.sum() > 15
    assert np.median(ratio[usable]) == pytest.approx(factor, rel=0.01)
    assert np.std(ratio[usable]) < 0.06 * factor
    image = read_image(tmp_path / "task" / products.IMAGE).data
    assert abs(np.nanmedian(image)) < 10 * factor
    struck = image[140:156, 150:158] / factor
    assert (np.nanmax(struck) > 500) == (method == "sum")


def test_what_the_header_says_is_true_of_the_stack(data: Path, tmp_path: Path) -> None:
    heads = {}
    for method in ("sum", "clipped_mean", "median"):
        assert stack(data, tmp_path / method, stack_method=method).outcome is Outcome.DONE
        heads[method] = fits.getheader(tmp_path / method / products.IMAGE)
    assert {each["NCOMBINE"] for each in heads.values()} == {5}
    assert heads["sum"]["EXPTIME"] == 150 and heads["median"]["EXPTIME"] == 30
    assert heads["sum"]["GAIN"] == 2
    assert heads["clipped_mean"]["GAIN"] == 10
    assert heads["median"]["GAIN"] == pytest.approx(20 / np.pi)
    # The sky of 500 ADU was taken off each frame.
    assert heads["sum"]["SATURATE"] == pytest.approx(5 * 59500, rel=1e-3)
    assert heads["median"]["SATURATE"] == pytest.approx(59500, rel=1e-3)
    assert heads["sum"]["DATE-OBS"] == "2024-05-14T23:10:00.000"
    assert heads["sum"]["DATE-MID"].startswith("2024-05-14T23:12:15")
    inspected = run_stage("inspect", tmp_path / "sum", {})
    assert inspected.outcome is Outcome.DONE
    assert inspected.config["time"].startswith("2024-05-14T23:12:15")
    assert inspected.config["saturation"] == pytest.approx(5 * 59500, rel=1e-3)


def test_a_sum_has_only_what_all_frames_show_and_a_median_more(data: Path, tmp_path: Path) -> None:
    covered = {}
    for method in ("sum", "median"):
        stack(data, tmp_path / method, stack_method=method)
        covered[method] = np.isfinite(read_image(tmp_path / method / products.IMAGE).data)
    assert covered["median"].all()
    assert not covered["sum"][:, 0].any() and covered["sum"][20:-20, 30:-30].all()


def test_the_sky_stays_where_it_is_wanted(data: Path, tmp_path: Path) -> None:
    stack(data, tmp_path / "sum", stack_subtract_bg=False)
    stack(data, tmp_path / "mean", stack_subtract_bg=False, stack_method="clipped_mean")
    assert np.nanmedian(read_image(tmp_path / "sum" / products.IMAGE).data) == pytest.approx(
        2500, rel=0.02
    )
    assert np.nanmedian(read_image(tmp_path / "mean" / products.IMAGE).data) == pytest.approx(
        500, rel=0.02
    )


def test_cosmic_rays_are_masked_in_every_frame_where_that_is_wanted(
    data: Path, tmp_path: Path
) -> None:
    stack(data, tmp_path / "task", stack_mask_cosmics=True)
    image = read_image(tmp_path / "task" / products.IMAGE).data
    assert np.nanmax(image[140:156, 150:158]) < 500


@pytest.mark.parametrize("first_is_located", [False, True])
def test_frames_without_coordinates_are_registered_on_their_stars(
    data: Path, tmp_path: Path, first_is_located: bool
) -> None:
    names = [f"lost/{name}" for name in NAMES]
    if first_is_located:
        names[0] = NAMES[0]
    result = stack(data, tmp_path / "task", stack_filenames=names, stack_method="median")
    assert result.outcome is Outcome.DONE, result.reasons
    ratio, usable = light_of_stars(tmp_path / "task")
    assert np.median(ratio[usable]) == pytest.approx(1, rel=0.015)
    frames = StackFrames.read(tmp_path / "task")
    assert frames is not None and [frame.name for frame in frames.frames] == names
    x, y = POINTINGS[0].wcs(300).all_world2pix(FIELD.ra, FIELD.dec, 0)
    for frame, pointing in zip(frames.frames[1:], POINTINGS[1:], strict=True):
        assert frame.matrix is not None
        there = pointing.wcs(300).all_world2pix(FIELD.ra, FIELD.dec, 0)
        found = frame.matrix @ [x, y, np.ones_like(x)]
        assert np.abs(found - there).max() < 0.3


def test_frames_that_cannot_be_used_are_left_out_and_named(data: Path, tmp_path: Path) -> None:
    other = Sky.of(seed=77)
    away = Pointing(5000, 0)
    write_frame(data / "bad" / "away.fits", FIELD.frame(away, seed=9), away)
    write_frame(
        data / "bad" / "other.fits", other.frame(Pointing(), seed=9), Pointing(), located=False
    )
    (data / "bad" / "text.fits").write_text("no image at all")
    bad = ["bad/away.fits", "bad/other.fits", "bad/text.fits"]
    result = stack(data, tmp_path / "task", stack_filenames=[*NAMES[:2], *bad])
    shutil.rmtree(data / "bad")
    assert result.outcome is Outcome.DEGRADED
    assert len(result.reasons) == 3
    for name, reason, words in zip(
        bad, result.reasons, ("does not overlap", "do not match", "not a FITS file"), strict=True
    ):
        assert name in reason and words in reason and reason.endswith(".")
    assert result.values["n_frames"].value == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "at least two different images in stack_filenames, not 0"),
        (["night/frame0.fits", "night/frame0.fits"], "not 1"),
        (["night/frame0.fits", "night/none.fits"], "There is no file 'night/none.fits'"),
        (["night/frame0.fits", "../secret.fits"], "'../secret.fits' does not lie in the data"),
        (["night/frame0.fits", "/etc/passwd"], "'/etc/passwd' does not lie in the data"),
        (["night/frame0.fits", "night/link.fits"], "'night/link.fits' does not lie in the data"),
        (["night/frame0.fits", "tasks/7/../8/image.fits"], "does not lie in the data"),
        (["night/frame0.fits", "night\0.fits"], "does not lie in the data"),
    ],
)
def test_what_cannot_be_stacked_is_refused_in_a_sentence(
    data: Path, tmp_path: Path, names: list[str], words: str
) -> None:
    secret = data.parent / "secret.fits"
    secret.write_bytes((data / NAMES[0]).read_bytes())
    link = data / "night" / "link.fits"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    result = stack(data, tmp_path / "task", stack_filenames=names)
    link.unlink()
    assert result.outcome is Outcome.FAILED
    assert words in result.reasons[0] and result.reasons[0].endswith(".")


def test_images_of_tasks_are_called_as_clients_know_them(data: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    version = tasks / ".versions" / "7-abc"
    version.mkdir(parents=True)
    (tasks / "7").symlink_to(".versions/7-abc")
    (version / "image.fits").write_bytes(b"image")
    (version / "leak.fits").symlink_to("../../8/image.fits")
    settings = Settings(_env_file=None, data_path=data, tasks_path=tasks)
    assert find_input("tasks/7/image.fits", settings).samefile(version / "image.fits")
    assert task_of("tasks/7/image.fits", settings) == 7
    assert task_of("night/7/image.fits", settings) is None
    assert find_input(str(data / NAMES[0]), settings).samefile(data / NAMES[0])
    for name in ("tasks/7/leak.fits", "tasks/7/../7/image.fits", "tasks/8/image.fits", "tasks/7"):
        with pytest.raises(Permanent):
            find_input(name, settings)


def test_a_new_stack_has_nothing_of_what_was_found_out_before(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "task"
    stack(data, folder)
    config = run_stage("inspect", folder, {"sn": 4.0}).config
    run_stage("destripe", folder, {})
    result = stack(data, folder, **config)
    assert result.outcome is Outcome.DONE
    assert "gain" not in result.config and result.config["sn"] == 4.0
    assert not (folder / products.IMAGE_ORIGINAL).exists()
    assert not (folder / products.MASK).exists()


def test_memory_does_not_grow_with_the_number_of_frames(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combination, "_MEMORY", 2**20)
    (data / "many").mkdir()
    for number in range(20):
        os.link(data / NAMES[0], data / "many" / f"{number}.fits")
    peaks = []
    for count in (4, 20):
        tracemalloc.start()
        names = [f"many/{number}.fits" for number in range(count)]
        result = stack(data, tmp_path / str(count), stack_filenames=names)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.outcome is Outcome.DONE
    shutil.rmtree(data / "many")
    # The planes of the other 16 frames would be 5.8 MB in single precision.
    assert peaks[1] - peaks[0] < 2e6


def test_a_field_too_crowded_for_a_catalogue_is_stacked(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    frames = sorted(shared_data("bulge_microlensing").glob("*.fits"))
    result = stack(
        shared_data("bulge_microlensing"), tmp_path / "task",
        stack_filenames=[frame.name for frame in frames], stack_method="median",
    )  # fmt: skip
    assert result.outcome is Outcome.DONE, result.reasons
    found = StackFrames.read(tmp_path / "task")
    assert found is not None
    # Where the event lies in the frames, after the README of the data.
    first, places = (256.0, 252.1), {"0075": (273.4, 227.6), "0100": (287.6, 215.2)}
    for frame in found.frames:
        for number, place in places.items():
            if number in frame.name:
                assert frame.matrix is not None
                assert frame.matrix @ [*first, 1] == pytest.approx(place, abs=1.0)
