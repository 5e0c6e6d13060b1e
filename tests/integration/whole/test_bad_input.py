"""Does bad input end in a sentence that a user understands, and in nothing worse?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skyrelay.client import Client, RequestRefused
from skyrelay.imaging.votable import write_votable
from skyrelay.stack.stack import Stack
from tests.support.observing import make_task, process

Maker = Callable[[Path, Path], None]


def _text(_: Path, target: Path) -> None:
    target.write_text("This is a letter to the observatory.\n" * 100)


def _nothing(_: Path, target: Path) -> None:
    target.touch()


def _truncated(image: Path, target: Path) -> None:
    content = image.read_bytes()
    target.write_bytes(content[: len(content) // 2])


def _only_a_table(_: Path, target: Path) -> None:
    Table({"x": [1.0, 2.0]}).write(target, format="fits")


def _undefined(_: Path, target: Path) -> None:
    fits.writeto(target, np.full((64, 64), np.nan, np.float32))


def _constant(_: Path, target: Path) -> None:
    fits.writeto(target, np.full((64, 64), 7, np.int16))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_text, "not a FITS file"),
        (_nothing, "is empty"),
        (_truncated, "truncated"),
        (_only_a_table, "no 2-D image"),
        (_undefined, "undefined (NaN)"),
        (_constant, "every pixel is 7"),
    ],
)
def test_an_image_that_is_none_is_refused_in_one_sentence(
    client: Client,
    whole_stack: Stack,
    observed: dict[str, Path],
    tmp_path: Path,
    make: Maker,
    sentence: str,
) -> None:
    before = whole_stack.processes
    bad = tmp_path / "bad.fits"
    make(observed["image"], bad)
    task = make_task(client, {"image": bad})
    state, run = process(client, task, "inspect", "photometry")
    assert state.state == "inspect_failed"
    assert sentence in state.error
    assert run.stages[0].state == "failed"
    assert {entry.name for entry in client.files(task)} == {"image.fits", "inspect.log"}
    log = client.read(task, "inspect.log").decode()
    assert sentence in log
    assert "Traceback" not in log
    assert whole_stack.processes == before


def test_a_catalogue_without_stars_in_the_field_fails_the_photometry(
    client: Client, observed: dict[str, Path], tmp_path: Path
) -> None:
    elsewhere = Table.read(observed["catalogue"], format="votable")
    elsewhere["dec"] -= 60.0
    write_votable(elsewhere, tmp_path / "elsewhere.vot")
    files = {"image": observed["image"], "catalogue": tmp_path / "elsewhere.vot"}
    task = make_task(client, files)
    state, _ = process(client, task, "inspect", "photometry")
    assert state.state == "photometry_failed"
    assert "catalogue" in state.error
    # The inspection before it stands.
    names = {entry.name for entry in client.files(task)}
    assert {"mask.fits", "inspect.log", "photometry.log"} <= names
    assert "objects.parquet" not in names


def test_a_catalogue_that_is_not_there_is_named(client: Client, observed: dict[str, Path]) -> None:
    task = make_task(client, {"image": observed["image"]}, cat_file="forgotten.vot")
    state, _ = process(client, task, "inspect", "photometry")
    assert state.state == "photometry_failed"
    assert "forgotten.vot" in state.error


def test_a_catalogue_outside_the_task_and_the_data_folder_is_refused(
    client: Client, observed: dict[str, Path]
) -> None:
    task = make_task(client, {"image": observed["image"]}, cat_file="../../../etc/passwd")
    with pytest.raises(RequestRefused, match="must lie in the task or in the data folder"):
        process(client, task, "inspect", "photometry")


def test_a_template_of_another_field_fails_the_subtraction(
    client: Client, observed: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.fits"
    with fits.open(observed["template"]) as hdus:
        hdus[0].header["CRVAL2"] -= 30.0
        hdus.writeto(other)
    task = make_task(client, {**observed, "template": other})
    state, _ = process(client, task, "inspect", "photometry", "subtraction")
    assert state.state == "subtraction_failed"
    assert "template" in state.error.lower()
    assert "sub_diff.fits" not in {entry.name for entry in client.files(task)}
