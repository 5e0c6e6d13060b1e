"""Does the mask say which pixels are bad, and why?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyrelay.errors import Permanent
from skyrelay.imaging import mask as masks
from skyrelay.imaging.fits import Image, Pixels


def silent(*_: object) -> None:
    """A log that nobody reads."""


def sky() -> Pixels:
    return np.random.default_rng(1).normal(100, 5, (128, 128)).astype(np.float32)


def build(data: Pixels, header: fits.Header | None = None, **options: object) -> Pixels:
    defaults = {"saturation": 60000.0, "gain": 1.0, "cosmics": False, "custom": None}
    image = Image(data, header or fits.Header())
    return masks.build_mask(image, **{**defaults, **options}, log=silent)  # type: ignore[arg-type]


def test_every_reason_has_its_bit() -> None:
    data, custom = sky(), np.zeros((128, 128))
    data[3, 4] = np.nan
    data[50, 60] = 65000
    custom[100, 10] = 1
    mask = build(data, fits.Header({"TRIMSEC": "[1:127,1:128]"}), custom=custom)
    assert mask[3, 4] == masks.UNDEFINED
    assert mask[50, 60] == masks.SATURATED
    assert mask[100, 10] == masks.CUSTOM
    assert np.all(mask[:, 127] == masks.OUTSIDE)
    assert np.count_nonzero(mask) == 3 + 128


def test_cosmic_rays_are_masked_although_pixels_are_undefined() -> None:
    data = sky()
    data[40, 40:46] += 2000
    data[60:70, 60] = np.nan
    mask = build(data, cosmics=True)
    assert np.all(mask[40, 41:45] & masks.COSMIC)
    assert np.count_nonzero(mask) < 40


def test_data_section_of_an_untrimmed_image_is_not_believed() -> None:
    assert not build(sky(), fits.Header({"DATASEC": "[17:1040,3:1026]"})).any()


def test_image_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(Permanent, match="undefined"):
        build(np.full((64, 64), np.nan, np.float32))
    with pytest.raises(Permanent, match="100 % of the image is masked"):
        build(sky(), saturation=10.0)


def test_custom_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "custom_mask.fits", np.zeros((30, 40), np.uint8))
    with pytest.raises(Permanent, match="40 x 30 px"):
        masks.read_custom_mask(tmp_path, (128, 128))


def test_mask_is_written_and_read(tmp_path: Path) -> None:
    mask = np.arange(400, dtype=np.uint8).reshape(20, 20) % 32
    masks.write_mask(tmp_path / "mask.fits", mask)
    np.testing.assert_array_equal(masks.read_mask(tmp_path, (20, 20)), mask)
    with pytest.raises(Permanent, match="run the inspection again"):
        masks.read_mask(tmp_path, (20, 21))
