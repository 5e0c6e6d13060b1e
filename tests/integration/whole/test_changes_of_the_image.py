"""Is the image of a task changed, stacked and cleaned up by the services, over the API?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyrelay import products
from skyrelay.client import Client, RequestRefused
from tests.support.frames import Pointing, Sky, write_frame
from tests.support.observing import HANGS

FIELD = Sky.of(seed=2)


@pytest.fixture
def tasks(client: Client, tmp_path: Path) -> list[int]:
    """Two tasks with frames of one field."""
    made = []
    for number, pointing in enumerate((Pointing(), Pointing(4.0, -6.0))):
        path = tmp_path / f"frame{number}.fits"
        write_frame(path, FIELD.frame(pointing, seed=number), pointing, number=number)
        made.append(client.create_task(path).id)
    return made


def image_of(client: Client, task: int, folder: Path) -> np.ndarray:
    return np.asarray(fits.getdata(client.download(task, products.IMAGE, folder / "got.fits")))


def test_a_crop_is_answered_when_it_is_done_and_can_be_taken_back(
    client: Client, tasks: list[int], tmp_path: Path
) -> None:
    task = tasks[0]
    client.crop(task, x1=10, y2=-20)
    assert image_of(client, task, tmp_path).shape == (280, 290)
    assert client.state(task).state == "crop_done"
    client.destripe(task, "vertical")
    client.fix(task)
    with pytest.raises(RequestRefused, match="Nothing would be left"):
        client.crop(task, x1=280)
    assert image_of(client, task, tmp_path).shape == (280, 290)
    client.process(task, ["reset", "inspect", "cleanup"])
    assert client.wait(task, timeout=HANGS).state == "cleanup_done"
    assert image_of(client, task, tmp_path).shape == (300, 300)
    assert {entry.name for entry in client.files(task)} == {
        *(products.IMAGE, "cleanup.log", "cleanup_results.json"),
    }
    assert "inspected" not in client.task(task).config


def test_images_of_tasks_become_a_stack(client: Client, tasks: list[int], tmp_path: Path) -> None:
    task = client.create_task(original_name="stack").id
    names = [f"tasks/{each}/{products.IMAGE}" for each in tasks]
    client.process(task, ["stack", "inspect"], config={"stack_filenames": names})
    state = client.wait(task, timeout=HANGS)
    assert state.state == "inspect_done", client.runs(task)[0]
    header = fits.getheader(client.download(task, products.IMAGE, tmp_path / "stack.fits"))
    assert (header["NCOMBINE"], header["EXPTIME"]) == (2, 60)
    copy = client.duplicate(task)
    assert copy.state == "uploaded"
    assert image_of(client, copy.id, tmp_path).shape == (300, 300)
