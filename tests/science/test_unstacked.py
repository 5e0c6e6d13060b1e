"""Does a person see, beside a candidate in a stack, in which of the frames it was?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.image import imread

from skyrelay import products
from skyrelay.imaging import unstacked
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.science_image import ScienceImage
from skyrelay.imaging.wcs import wcs_of
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.context import StageContext, StageLog
from skyrelay.stages import SIMPLE_TRANSIENTS
from tests.support.frames import FWHM, Pointing, Sky, write_frame
from tests.support.stages import run_stage

POINTINGS = (Pointing(), Pointing(7.0, -3.0), Pointing(-5.0, 4.0, 10.0))
FIELD = Sky.of(seed=3)
#: Where something is in the third frame only: pixels of the first one.
PLACE = (140.0, 160.0)


@pytest.fixture(params=[True, False], ids=["with coordinates", "without"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StageContext]:
    """A stack of frames, the last of which shows something new."""
    ra, dec = POINTINGS[0].wcs(300).all_pix2world(*PLACE, 0)
    names = [f"f{number}.fits" for number in range(3)]
    for number, (name, pointing) in enumerate(zip(names, POINTINGS, strict=True)):
        new = Sky([ra], [dec], np.array([30000.0 * (number == 2)]))
        pixels = FIELD.frame(pointing, seed=number) + new.frame(pointing, seed=9) - 500
        write_frame(tmp_path / "data" / name, pixels, pointing, located=request.param)
    folder = tmp_path / "task"
    folder.mkdir()
    settings = Settings(_env_file=None, data_path=tmp_path / "data", tasks_path=tmp_path / "tasks")
    run_stage("stack", folder, {"stack_filenames": names}, settings)
    log = StageLog(tmp_path / "log")
    yield StageContext(SIMPLE_TRANSIENTS, folder, {}, settings, tmp_path, log)
    log.close()


def science_of(context: StageContext) -> ScienceImage:
    image = read_image(context.path(products.IMAGE))
    return ScienceImage(
        image=image.data,
        mask=~np.isfinite(image.data),
        header=image.header,
        wcs=wcs_of(image.header, image.data.shape) or POINTINGS[0].wcs(300),
        objects=Table(),
        gain=2.0,
        fwhm=FWHM,
        time=None,
    )


def panels_of(
    context: StageContext, monkeypatch: pytest.MonkeyPatch, place: tuple[float, float] = PLACE
) -> list[Any]:
    """The panels of one candidate, as they are drawn."""
    drawn: list[Any] = []
    draw = unstacked._draw

    def draw_and_keep(path: Path, names: list[str], panels: list[Any]) -> None:
        drawn.extend(panels)
        draw(path, names, panels)

    monkeypatch.setattr(unstacked, "_draw", draw_and_keep)
    candidates = Table({"x": [place[0]], "y": [place[1]], "cutout_name": ["J1.cutout"]})
    unstacked.write_unstacked(context, science_of(context), candidates, context.folder)
    monkeypatch.setattr(unstacked, "_draw", draw)
    return drawn


def test_the_strip_shows_what_one_frame_alone_has(
    stack: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = panels_of(stack, monkeypatch)
    centre = len(panels[0]) // 2
    heights = [float(panel[centre, centre] - np.median(panel)) for panel in panels]
    assert max(heights[:2]) < 150 < 1000 < heights[2]
    strip = imread(stack.path("J1.unstack.png"))
    assert strip.shape[1] > 2 * strip.shape[0]
    assert not stack.degraded


def test_a_frame_that_is_gone_is_named_and_the_others_are_shown(
    stack: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stack.settings.data_path / "f1.fits").unlink()
    assert len(panels_of(stack, monkeypatch)) == 2
    assert "f1.fits" in stack.degraded[0]


def test_an_image_that_is_no_stack_has_no_strips(
    stack: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.path(products.STACK_FRAMES).unlink()
    assert not panels_of(stack, monkeypatch)
    assert not stack.path("J1.unstack.png").exists()


def test_after_a_crop_the_strips_show_the_same_places(
    stack: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = panels_of(stack, monkeypatch)
    assert run_stage("crop", stack.folder, {"crop_x1": 30, "crop_y1": 50}).outcome is Outcome.DONE
    part = panels_of(stack, monkeypatch, (PLACE[0] - 30, PLACE[1] - 50))
    np.testing.assert_allclose(part, whole, atol=1e-2)
