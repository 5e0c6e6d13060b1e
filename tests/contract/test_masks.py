"""Do rectangles on a picture become the mask that the stages use, and come back to be changed?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skyrelay import products
from skyrelay.imaging.mask import read_custom_mask
from tests.support.gateway import Bench, Caller

#: An image of 40 x 20 pixels, drawn on at twice its size: columns 5 to 15 of the uppermost rows.
AREA = {"x": 10, "y": 0, "width": 20, "height": 9}
HEIGHT, WIDTH = 20, 40


@pytest.fixture
def task(bench: Bench, alice: Caller) -> int:
    number = alice.new_task()
    fits.writeto(bench.store.folder(number) / "image.fits", np.zeros((HEIGHT, WIDTH)))
    return number


def draw(caller: Caller, task: int, of: str = "image", **drawing: Any) -> dict[str, Any]:
    answer = caller.post(f"tasks/{task}/mask/{of}/", json=drawing)
    assert answer.status_code == 200, answer.json
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("inverted", [True, False])
def test_areas_are_masked_or_all_that_is_around_them(
    bench: Bench, alice: Caller, task: int, inverted: bool
) -> None:
    said = draw(alice, task, areas=[AREA], width=2 * WIDTH, inverted=inverted)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[-5:, 5:15] = True
    mask = read_custom_mask(bench.store.folder(task), (HEIGHT, WIDTH))
    assert mask is not None
    np.testing.assert_array_equal(mask != 0, expected if inverted else ~expected)
    assert said["masked"] == pytest.approx(np.mean(mask != 0))
    assert bench.command().step == "inspect" and bench.state(task) == "running"
    drawn = alice.get(f"tasks/{task}/mask/image/").json
    assert drawn == {"areas": [AREA], "inverted": inverted, "width": 2 * WIDTH}


def test_areas_may_overlap_and_reach_beyond_the_image(
    bench: Bench, alice: Caller, task: int
) -> None:
    areas = [
        {"x": -5, "y": -5, "width": 10, "height": 10},
        {"x": 3.5, "y": 2.5, "width": 4, "height": 4},
        {"x": 39, "y": 19, "width": 500, "height": 500},
        {"x": 100, "y": 100, "width": 5, "height": 5},
        {"x": 20, "y": 10, "width": 0, "height": 0},
    ]
    draw(alice, task, areas=areas, inverted=True, inspect=False)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[:5, :5] = expected[2:7, 3:8] = expected[19:, 39:] = True
    mask = read_custom_mask(bench.store.folder(task), (HEIGHT, WIDTH))
    assert mask is not None
    np.testing.assert_array_equal(mask != 0, expected[::-1])
    assert bench.commands() == []


def test_no_areas_are_no_mask(bench: Bench, alice: Caller, task: int) -> None:
    draw(alice, task, areas=[AREA], inspect=False)
    assert "celery_id" in draw(alice, task, areas=[])
    folder = bench.store.folder(task)
    assert {path.name for path in folder.iterdir()} == {"image.fits"}
    assert alice.get(f"tasks/{task}/mask/image/").json == {
        "areas": [],
        "inverted": False,
        "width": None,
    }


def test_the_mask_of_a_template_waits_for_the_subtraction(
    bench: Bench, alice: Caller, task: int
) -> None:
    assert alice.post(f"tasks/{task}/mask/template/", json={"areas": [AREA]}).status_code == 404
    image = fits.CompImageHDU(np.zeros((2, 30, 50), np.int16))
    image.writeto(bench.store.folder(task) / products.CUSTOM_TEMPLATE)
    assert "celery_id" not in draw(alice, task, "template", areas=[AREA], inverted=True)
    mask = fits.getdata(bench.store.folder(task) / products.CUSTOM_TEMPLATE_MASK)
    assert mask.shape == (30, 50) and mask.sum() == 20 * 9
    assert bench.commands() == []
    assert alice.get(f"tasks/{task}/mask/template/").json["areas"] == [AREA]


@pytest.mark.parametrize(
    "drawing",
    [
        {},
        {"areas": "x"},
        {"areas": [{"x": 1}]},
        {"areas": [{"x": 1, "y": 1, "width": "wide", "height": 1}]},
        {"areas": [{"x": 1, "y": 1, "width": -1, "height": 1}]},
        {"areas": [{"x": 1, "y": 1, "width": 1e300, "height": 1}]},
        {"areas": [AREA] * 501},
        {"areas": [AREA], "width": 0},
        {"areas": [AREA], "width": "wide"},
    ],
)
def test_a_drawing_that_makes_no_sense_is_refused(
    bench: Bench, alice: Caller, task: int, drawing: dict[str, Any]
) -> None:
    assert alice.post(f"tasks/{task}/mask/image/", json=drawing).status_code == 400
    assert bench.commands() == []


def test_only_who_may_change_an_idle_task_draws_on_it(
    bench: Bench, alice: Caller, eve: Caller, task: int
) -> None:
    assert eve.get(f"tasks/{task}/mask/image/").status_code == 403
    assert eve.post(f"tasks/{task}/mask/image/", json={"areas": [AREA]}).status_code == 403
    assert alice.get(f"tasks/{task}/mask/portrait/").status_code == 404
    draw(alice, task, areas=[AREA])
    assert alice.post(f"tasks/{task}/mask/image/", json={"areas": []}).status_code == 409
    assert (bench.store.folder(task) / products.CUSTOM_MASK).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"areas": [1]}', b'{"areas": {}}', b"[" * 9999])
def test_what_a_user_has_put_in_place_of_the_areas_does_no_harm(
    bench: Bench, alice: Caller, task: int, content: bytes
) -> None:
    Path(bench.store.folder(task) / products.CUSTOM_MASK_AREAS).write_bytes(content)
    assert alice.get(f"tasks/{task}/mask/image/").json["areas"] == []
