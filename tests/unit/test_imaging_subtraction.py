"""Is a difference of two images right in flux and in noise, in every tile, whatever happens?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from skyrelay.imaging import mosaic
from skyrelay.imaging.point_spread import moffat
from skyrelay.imaging.subtraction import (
    Difference,
    Engine,
    Hotpants,
    Pair,
    Sfft,
    TileFailed,
    noise_ratio,
)
from skyrelay.imaging.tiles import cut
from tests.support import alard_lupton

SIDE, GAIN, IMAGE_FWHM, TEMPLATE_FWHM = 300, 2.0, 4.0, 3.0
IMAGE_NOISE, TEMPLATE_NOISE, SCALE = 12.0, 2.0, 0.7


def render(stars: Table, fwhm: float, scale: float) -> np.ndarray:
    """Stars on empty sky, without noise, at whole pixels."""
    plane = np.zeros((SIDE + 80, SIDE + 80))
    profile = moffat(fwhm, 61)
    for row in stars:
        x, y = int(row["x"]) + 40, int(row["y"]) + 40
        plane[y - 30 : y + 31, x - 30 : x + 31] += scale * row["flux"] * profile
    return plane[40:-40, 40:-40]


@pytest.fixture(scope="module")
def scene() -> tuple[Pair, Table, Table]:
    """A pair of images, their objects, and what is new in one of them."""
    rng = np.random.default_rng(3)
    count = 90
    stars = Table(
        {
            "x": rng.integers(0, SIDE, count).astype(float),
            "y": rng.integers(0, SIDE, count).astype(float),
            "flux": 10 ** rng.uniform(3.5, 5.5, count),
            "fluxerr": np.full(count, 120.0),
            "flags": np.zeros(count, dtype=int),
        }
    )
    new = Table({"x": [60.0, 150.0, 240.0], "y": [60.0, 150.0, 240.0], "flux": [2e3, 4e3, 8e3]})
    image = render(stars, IMAGE_FWHM, 1) + render(new, IMAGE_FWHM, 1)
    template = render(stars, TEMPLATE_FWHM, 1 / SCALE)
    image += rng.normal(0, np.sqrt(IMAGE_NOISE**2 + image / GAIN))
    template += rng.normal(0, TEMPLATE_NOISE, template.shape)
    empty = np.zeros((SIDE, SIDE), dtype=bool)
    pair = Pair(
        image=image,
        template=template,
        mask=empty,
        template_mask=empty.copy(),
        noise=np.full((SIDE, SIDE), IMAGE_NOISE),
        template_noise=np.full((SIDE, SIDE), TEMPLATE_NOISE),
        gain=GAIN,
        template_gain=1e6,
        fwhm=IMAGE_FWHM,
        template_fwhm=TEMPLATE_FWHM,
    )
    return pair, stars, new


def subtract(
    pair: Pair, stars: Table, engine: Engine | None = None, size: int = 200
) -> mosaic.Mosaic:
    tiles = cut((SIDE, SIDE), size, 30)
    log: list[str] = []
    return mosaic.assemble(
        (SIDE, SIDE),
        (mosaic.subtract_tile(pair, tile, stars, engine or Sfft(), log.append) for tile in tiles),
    )


@pytest.fixture(scope="module")
def difference(scene: tuple[Pair, Table, Table]) -> mosaic.Mosaic:
    return subtract(scene[0], scene[1])


def test_new_light_keeps_its_flux(
    scene: tuple[Pair, Table, Table], difference: mosaic.Mosaic
) -> None:
    share = moffat(IMAGE_FWHM, 61)[22:39, 22:39].sum()
    for row in scene[2]:
        x, y = int(row["x"]), int(row["y"])
        window = (slice(y - 8, y + 9), slice(x - 8, x + 9))
        flux = difference.difference[window].sum()
        error = np.sqrt(np.sum(difference.noise[window] ** 2))
        assert abs(flux - share * row["flux"]) < 4 * error + 0.03 * row["flux"]


def test_noise_is_what_the_difference_scatters_by(difference: mosaic.Mosaic) -> None:
    assert noise_ratio(difference.scaled, difference.mask) == pytest.approx(1.0, abs=0.06)


def test_stars_vanish(scene: tuple[Pair, Table, Table], difference: mosaic.Mosaic) -> None:
    worst = [
        np.abs(difference.scaled[int(row["y"]), int(row["x"])])
        for row in scene[1]
        if not difference.mask[int(row["y"]), int(row["x"])]
    ]
    assert np.median(worst) < 1.5 and np.max(worst) < 6


def test_tiles_meet_without_seams(
    scene: tuple[Pair, Table, Table], difference: mosaic.Mosaic
) -> None:
    assert difference.tiles == 4 and not difference.failures
    half = int(np.ceil(1.25 * IMAGE_FWHM))
    assert not difference.mask[half:-half, half:-half].any()
    seam = difference.difference[:, SIDE // 2 - 1] - difference.difference[:, SIDE // 2]
    assert np.median(np.abs(seam)) < 2 * IMAGE_NOISE


def test_failed_tile_is_masked_and_named(scene: tuple[Pair, Table, Table]) -> None:
    pair, stars, _ = scene
    template_mask = pair.template_mask.copy()
    template_mask[:150, :150] = True
    holed = Pair(**{**vars(pair), "template_mask": template_mask})
    result = subtract(holed, stars, size=150)
    assert [str(tile) for tile, _ in result.failures] == ["x 0-149, y 0-149"] or all(
        "cover" in reason for _, reason in result.failures
    )
    assert result.mask[:150, :150].all() and not result.mask[170:280, 170:280].any()
    assert all(np.isnan(result.noise[tile.core]).all() for tile, _ in result.failures)


def test_unrelated_images_do_not_subtract(scene: tuple[Pair, Table, Table]) -> None:
    pair, stars, _ = scene
    other = Pair(**{**vars(pair), "template": -pair.template})
    assert subtract(other, stars).failures


@pytest.mark.parametrize("what", ["other stars", "blank sky"])
def test_template_that_shows_something_else_fails(
    scene: tuple[Pair, Table, Table], what: str
) -> None:
    pair, stars, _ = scene
    blank = np.random.default_rng(8).normal(0, TEMPLATE_NOISE, pair.template.shape)
    template = pair.template[::-1, ::-1].copy() if what == "other stars" else blank
    result = subtract(Pair(**{**vars(pair), "template": template}), stars)
    assert len(result.failures) == result.tiles
    assert all("do not match" in reason for _, reason in result.failures)


def hotpants(folder: Path, options: dict[str, Any], verbose: bool = False) -> Hotpants:
    return Hotpants(alard_lupton.install(folder), options, folder, verbose)


def test_what_hotpants_writes_is_understood(
    scene: tuple[Pair, Table, Table], tmp_path: Path
) -> None:
    pair, stars, new = scene
    log: list[str] = []
    engine = hotpants(tmp_path, {"ko": 1, "bgo": 0, "ng": [2, 4, 1.0, 2, 2.0]}, verbose=True)
    tiles = cut((SIDE, SIDE), SIDE, 0)
    result = mosaic.assemble(
        (SIDE, SIDE),
        (mosaic.subtract_tile(pair, tile, stars, engine, log.append) for tile in tiles),
    )
    assert not result.failures, log
    assert noise_ratio(result.scaled, result.mask) == pytest.approx(1.0, abs=0.06)
    for row in new:
        x, y = int(row["x"]), int(row["y"])
        window = (slice(y - 8, y + 9), slice(x - 8, x + 9))
        error = np.sqrt(np.sum(result.noise[window] ** 2))
        share = moffat(IMAGE_FWHM, 61)[22:39, 22:39].sum()
        assert abs(result.difference[window].sum() - share * row["flux"]) < 4 * error
    # What it has no value for is masked, and what it says is in the log.
    assert result.mask[:5].all() and not result.mask[30:-30, 30:-30].any()
    (options,) = [line.split() for line in log if line.startswith("options")]
    assert {"ko", "bgo", "ng", "ig", "tg", "r", "ssf"} <= set(options)
    assert any("-ng 2 4 1.0 2 2.0" in line and "-ko 1" in line for line in log)
    assert not [path for path in tmp_path.iterdir() if path.name != "hotpants"]


def test_hotpants_that_dies_fails_the_tile(
    scene: tuple[Pair, Table, Table], tmp_path: Path
) -> None:
    pair, stars, _ = scene
    (tmp_path / "hotpants").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "hotpants").chmod(0o755)
    result = subtract(pair, stars, Hotpants(tmp_path / "hotpants", {}, tmp_path), SIDE)
    assert [reason for _, reason in result.failures] == ["HOTPANTS made no difference image"]


def test_engine_that_fails_in_one_tile_does_not_fail_the_others(
    scene: tuple[Pair, Table, Table],
) -> None:
    pair, stars, _ = scene
    calls: list[int] = []

    def engine(part: Pair, objects: Table, log: Callable[..., object]) -> Difference:
        calls.append(len(objects))
        if len(calls) == 2:
            raise TileFailed("no stars")
        zero = np.zeros_like(part.image)
        return Difference(zero, zero, zero + 1, part.mask)

    result = subtract(pair, stars, engine)  # type: ignore[arg-type]
    assert len(calls) == 4 and [reason for _, reason in result.failures] == ["no stars"]
