"""Do tiles cover every image, exactly once, whatever its size?"""

from __future__ import annotations

import numpy as np
import pytest

from skyrelay.imaging.tiles import cut

SIZES = [
    ((1, 1), 64, 0),
    ((100, 100), 64, 10),
    ((1024, 1024), 1000, 50),
    ((333, 2000), 300, 50),
    ((64, 4096), 1000, 5000),
    ((4000, 999), 1000, 0),
]


@pytest.mark.parametrize(("shape", "size", "overlap"), SIZES)
def test_every_pixel_belongs_to_one_core(shape: tuple[int, int], size: int, overlap: int) -> None:
    covered = np.zeros(shape, dtype=int)
    for tile in cut(shape, size, overlap):
        covered[tile.core] += 1
    assert np.all(covered == 1)


@pytest.mark.parametrize(("shape", "size", "overlap"), SIZES)
def test_windows_reach_over_cores_but_not_over_the_image(
    shape: tuple[int, int], size: int, overlap: int
) -> None:
    for tile in cut(shape, size, overlap):
        for window, core, length in zip(tile.window, tile.core, shape, strict=True):
            assert window.start == max(0, core.start - overlap)
            assert window.stop == min(length, core.stop + overlap)
            assert core.stop - core.start <= size


def test_core_is_found_again_in_its_window() -> None:
    image = np.arange(300 * 500).reshape(300, 500)
    for tile in cut((300, 500), 128, 20):
        np.testing.assert_array_equal(image[tile.window][tile.core_in_window], image[tile.core])


def test_tiles_of_an_image_just_over_the_size_are_equal() -> None:
    widths = {tile.core[1].stop - tile.core[1].start for tile in cut((900, 1024), 1000, 50)}
    assert widths == {512}
