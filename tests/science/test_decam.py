"""Is the transient of a real pair of DECam images found, on few stars, without the dipoles?

The data has no catalogue: one is made of the image's own detections, with a zero point of 30.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from stdpipe.photometry import get_objects_sep

from skyrelay import products
from skyrelay.imaging.votable import write_votable
from skyrelay.messages import Outcome
from skyrelay.stage.execute import StageResult
from tests.support.stages import run_stage

TRANSIENT = (128.8, 127.7)
ZERO_POINT = 30.0


@pytest.fixture(scope="module")
def searched(
    shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StageResult]:
    """The pair after inspection, photometry and subtraction."""
    source = shared_data("decam_pair")
    folder = tmp_path_factory.mktemp("decam") / "task"
    folder.mkdir()
    shutil.copyfile(source / "Stack-DEC-OBS04.fits", folder / products.IMAGE)
    shutil.copyfile(source / "Stack-DEC-OBS18.fits", folder / products.CUSTOM_TEMPLATE)
    write_catalogue(folder)
    config = {
        "cat_name": "local",
        "cat_file": "stars.vot",
        "filter": "i",
        "template": "custom",
        "use_color": False,
        "spatial_order": 0,
        "refine_wcs": False,
    }
    for step in ("inspect", "photometry", "subtraction"):
        result = run_stage(step, folder, config)
        assert result.outcome is Outcome.DONE, result.reasons
        config = result.config
    return folder, result


def write_catalogue(folder: Path) -> None:
    """Make ``stars.vot``, the catalogue of the image in a task's folder."""
    with fits.open(folder / products.IMAGE) as hdus:
        image, wcs = hdus[0].data.astype(float), WCS(hdus[0].header)
    stars = get_objects_sep(image, thresh=3.0, aper=5.0, verbose=False)
    ra, dec = wcs.all_pix2world(stars["x"], stars["y"], 0)
    catalogue = Table({"ra": ra, "dec": dec, "imag": stars["mag"] + ZERO_POINT})
    catalogue["e_imag"] = stars["magerr"]
    write_votable(catalogue, folder / "stars.vot")


def test_transient_is_found_within_a_pixel(searched: tuple[Path, StageResult]) -> None:
    candidates = Table.read(searched[0] / products.CANDIDATES)
    away = np.hypot(candidates["x"] - TRANSIENT[0], candidates["y"] - TRANSIENT[1])
    assert away.min() < 1
    assert candidates[int(np.argmin(away))]["sn"] > 5


def test_at_most_two_dipoles_get_through(searched: tuple[Path, StageResult]) -> None:
    candidates = Table.read(searched[0] / products.CANDIDATES)
    away = np.hypot(candidates["x"] - TRANSIENT[0], candidates["y"] - TRANSIENT[1])
    assert np.count_nonzero(away > 3) <= 2


def test_difference_scatters_by_its_noise(searched: tuple[Path, StageResult]) -> None:
    assert searched[1].values["difference_noise_ratio"].value == pytest.approx(1.0, abs=0.1)
