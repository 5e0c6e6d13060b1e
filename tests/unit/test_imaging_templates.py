"""Is a template taken as it is meant, and is it told why there is none?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging import templates
from skyrelay.imaging.science_image import ScienceImage
from skyrelay.settings import Settings
from skyrelay.stage.context import StageContext, StageLog
from skyrelay.stages import stage_of

SIDE, SKY = 64, 1000.0


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StageContext]:
    stage = stage_of("subtraction")
    log = StageLog(tmp_path / stage.log_name)
    settings = Settings(_env_file=None)
    yield StageContext(stage, tmp_path, {"template": "custom"}, settings, tmp_path, log)
    log.close()


def science_at(dec: float) -> ScienceImage:
    """An empty image of this part of the sky."""
    wcs = WCS(naxis=2)
    wcs.wcs.crpix, wcs.wcs.crval = (SIDE / 2, SIDE / 2), (180.0, dec)
    wcs.wcs.cdelt, wcs.wcs.ctype = (-3e-4, 3e-4), ("RA---TAN", "DEC--TAN")
    wcs.pixel_shape = SIDE, SIDE
    image = np.zeros((SIDE, SIDE))
    header = wcs.to_header()
    return ScienceImage(image, image > 0, header, wcs, Table(), 1.0, 3.0, None)


def write_template(context: StageContext, science: ScienceImage, **cards: Any) -> None:
    """A template of the same pixels with a tenth of them bright."""
    data = np.random.default_rng(1).normal(SKY, 10, science.shape)
    data[: SIDE // 8] = 50000
    header = science.header.copy()
    header.update(cards)
    fits.writeto(context.path(products.CUSTOM_TEMPLATE), data.astype(np.float32), header)


@pytest.mark.parametrize("by", ["header", "parameter"])
def test_saturation_level_below_the_sky_is_not_used(context: StageContext, by: str) -> None:
    science = science_at(10)
    write_template(context, science, **({"SATURATE": 1.0} if by == "header" else {}))
    if by == "parameter":
        context.config["custom_template_saturation"] = 0.0
    template = templates.fetch(context, science)
    assert template.saturation is None and not template.mask.any()
    assert "is not used" in context.path(context.stage.log_name).read_text()


def test_saturation_level_masks_what_is_above_it(context: StageContext) -> None:
    science = science_at(10)
    write_template(context, science, SATURATE=40000.0)
    template = templates.fetch(context, science)
    assert template.saturation == 40000 and template.mask.mean() == pytest.approx(1 / 8)
    assert not context.degraded


def test_saturation_level_in_the_sky_is_told(context: StageContext) -> None:
    science = science_at(10)
    write_template(context, science, SATURATE=SKY + 5)
    templates.fetch(context, science)
    assert len(context.degraded) == 1 and "from its header" in context.degraded[0]


@pytest.mark.parametrize(
    ("given", "cards", "gain"),
    [(5.0, {"GAIN": 2.0}, 5.0), (None, {"EGAIN": 2.0, "GAIN": 100.0}, 2.0), (None, {}, 10000.0)],
)
def test_the_gain_is_the_given_one_else_the_headers_else_a_high_one(
    context: StageContext, given: float | None, cards: dict[str, float], gain: float
) -> None:
    science = science_at(10)
    write_template(context, science, **cards)
    context.config["custom_template_gain"] = given
    assert templates.fetch(context, science).gain == gain


@pytest.mark.parametrize(("survey", "dec"), [("ps1", -60.0), ("ls", 88.0)])
def test_survey_that_does_not_cover_the_field_is_not_tried_again(
    context: StageContext, survey: str, dec: float
) -> None:
    context.config["template"] = survey
    with pytest.raises(Permanent, match=f"{survey} does not cover this field"):
        templates.fetch(context, science_at(dec))
