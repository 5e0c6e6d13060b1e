"""Does photometry of a real SDSS mosaic give what others have published of it?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from skyrelay.messages import Outcome
from skyrelay.stage.execute import StageResult
from tests.support.stages import run_stage

#: Radius of the smallest published aperture (diameter 7.44 px) and its zero point. Calibrators that
#: are wider than a star lose more of their light beyond it: which of them are taken changes this
#: zero point by hundredths.
RADIUS, ZERO_POINT = 3.72, 22.283
#: The same for the third aperture, which holds nearly all the light of all of them.
WIDE_RADIUS, WIDE_ZERO_POINT = 11.16, 22.485


@pytest.fixture(scope="module")
def mosaic(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a task with the mosaic and its catalogue."""
    folder = tmp_path_factory.mktemp("sn2015bn") / "task"
    folder.mkdir()
    source = shared_data("sn2015bn_sdss")
    shutil.copyfile(source / "SN2015bn_SDSS_r.fits.fz", folder / "image.fits")
    shutil.copyfile(source / "SN2015bn_SDSS_r_SDSS_r.cat", folder / "stars.cat")
    return folder


@pytest.fixture(scope="module")
def result(mosaic: Path) -> StageResult:
    """Photometry in the published aperture: the FWHM is set so that one FWHM is its radius."""
    return _measured(mosaic)


def _measured(mosaic: Path, **changes: float) -> StageResult:
    config = {
        "target": "SN2015bn host 173.42313 +0.72597",
        "mask_cosmics": False,
        "cat_name": "local",
        "cat_file": "stars.cat",
        "cat_limit": 22.0,
        "fwhm_override": RADIUS,
        "rel_aper": 1.0,
        "rel_bg1": 4.0,
        "rel_bg2": 6.0,
        "spatial_order": 0,
    }
    inspection = run_stage("inspect", mosaic, config | changes)
    assert inspection.outcome is Outcome.DONE
    return run_stage("photometry", mosaic, inspection.config)


def test_zero_point_agrees_with_the_published_one(result: StageResult) -> None:
    assert result.outcome is Outcome.DONE
    assert result.values["aperture_radius"].value == pytest.approx(RADIUS)
    assert result.values["zero_point"].value == pytest.approx(ZERO_POINT, abs=0.02)


def test_zero_point_of_a_wide_aperture_agrees_better(mosaic: Path) -> None:
    wide = _measured(mosaic, rel_aper=WIDE_RADIUS / RADIUS, rel_bg1=5.0, rel_bg2=7.0)
    assert wide.values["aperture_radius"].value == pytest.approx(WIDE_RADIUS)
    assert wide.values["zero_point"].value == pytest.approx(WIDE_ZERO_POINT, abs=0.012)


def test_error_of_the_zero_point_covers_its_deviation(result: StageResult) -> None:
    zero_point = result.values["zero_point"]
    assert zero_point.error is not None and isinstance(zero_point.value, float)
    assert abs(zero_point.value - ZERO_POINT) < 3 * zero_point.error


def test_astrometric_residual_is_below_a_fifth_of_an_arcsecond(result: StageResult) -> None:
    residual = result.values["astrometric_residual"].value
    assert isinstance(residual, float) and residual < 0.2


def test_host_has_its_published_magnitude(result: StageResult) -> None:
    assert result.values["target_0_mag"].value == pytest.approx(22.85, abs=0.4)
