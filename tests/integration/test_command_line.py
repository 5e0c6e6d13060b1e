"""Does the command line process images for real, say what came of it, and end when told to?"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skyrelay.synthetic import FieldSpec, render_observation
from tests.support.frames import Pointing, Sky, write_frame
from tests.support.processes import processes_with, wait_until

PROJECT = Path(__file__).resolve().parents[2]
#: The command is that of this project, wherever it is called.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT)}

#: Seconds after which a command that has not ended hangs.
HANGS = 300.0


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an observation, its catalogue and template, and a file that is no image."""
    folder = tmp_path_factory.mktemp("observed")
    files = render_observation(FieldSpec(seed=4, size=320, crowding=3.0)).write(folder / "all")
    for name, target in (
        ("image", "m31.fits"),
        ("catalogue", "stars.vot"),
        ("template", "deep.fits"),
    ):
        shutil.copyfile(files[name], folder / target)
    (folder / "broken.fits").write_text("no image at all")
    return folder


@pytest.fixture
def night(observed: Path, tmp_path: Path) -> Path:
    """A copy of it to work in."""
    return Path(shutil.copytree(observed, tmp_path / "night"))


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "skyrelay.cli", "process", *words]


def skyrelay(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=folder, env=ENVIRONMENT,
        capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip


def config_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / ".config").read_text())
    return content


def test_an_observation_goes_through_all_stages_and_a_broken_file_is_named(night: Path) -> None:
    answer = skyrelay(
        night, "m31.fits", "broken.fits", "-j", "2", "--json",
        "--inspect", "--photometry", "--simple-transients", "--subtract",
        "-c", "cat_name=local", "-c", "cat_file=stars.vot", "-c", "template=custom",
        "-c", "custom_template_gain=15", "--file", "custom_template.fits=deep.fits",
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    good, bad = json.loads(answer.stdout)
    assert good["outcome"] in ("done", "degraded"), good
    assert [step["step"] for step in good["steps"]] == [
        "inspect",
        "photometry",
        "simple_transients",
        "subtraction",
    ]
    assert 20 < good["steps"][1]["values"]["zero_point"]["value"] < 30
    assert bad["outcome"] == "failed"
    assert bad["reasons"] == ["The file image.fits is not a FITS file."]
    assert (night / "m31" / "candidates.vot").exists()
    assert config_of(night / "m31")["zp"] > 20
    assert not (night / "m31" / ".scratch").exists()
    # Without a terminal there is a line for each step, and no bar.
    assert "m31.fits: Photometry done" in answer.stderr and "\x1b" not in answer.stderr

    # The configuration is taken up the next time, and whoever cleans up begins anew.
    again = skyrelay(night, "m31.fits", "--inspect", "-c", "sn=7")
    assert again.returncode == 0, again.stderr
    assert "m31.fits" in again.stdout and "done" in again.stdout
    assert config_of(night / "m31")["cat_name"] == "local"
    assert config_of(night / "m31")["sn"] == 7
    cleaned = skyrelay(night, "m31/image.fits", "--cleanup")
    assert cleaned.returncode == 0, cleaned.stderr
    assert config_of(night / "m31") == {}
    assert not (night / "m31" / "mask.fits").exists()


def test_images_are_stacked_into_a_folder_of_their_own(tmp_path: Path) -> None:
    sky, pointings = Sky.of(seed=6), (Pointing(), Pointing(5, 3), Pointing(-4, 6))
    for number, pointing in enumerate(pointings):
        write_frame(tmp_path / f"f{number}.fits", sky.frame(pointing, number), pointing)
    preset = tmp_path / "preset.json"
    preset.write_text('{"stack_method": "median", "observer": "Tycho", "sn": 4}')
    names = [f"f{number}.fits" for number in range(3)]
    answer = skyrelay(
        tmp_path, *names, "--stack", "--inspect", "--preset", "preset.json", "-c", "sn=6", "-v"
    )
    assert answer.returncode == 0, answer.stderr
    assert "observer: no stage reads this parameter" in answer.stderr
    assert "Combining 3 images: median" in answer.stderr
    config = config_of(tmp_path / "f0_stack")
    assert (config["sn"], config["stack_method"], config["filter"]) == (6, "median", "r")
    assert (tmp_path / "f0_stack" / "mask.fits").exists()


def test_an_image_that_has_changed_is_taken_anew(night: Path) -> None:
    assert skyrelay(night, "m31.fits", "--crop", "-c", "crop_x2=100").returncode == 0
    size = (night / "m31" / "image.fits").stat().st_size
    assert skyrelay(night, "m31.fits", "--inspect").returncode == 0
    assert (night / "m31" / "image.fits").stat().st_size == size
    os.utime(night / "m31.fits", ns=(1, 1))
    assert skyrelay(night, "m31.fits", "--inspect").returncode == 0
    assert (night / "m31" / "image.fits").stat().st_size > size
    assert not (night / "m31" / "image.orig.fits").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("m31.fits",), "Name at least one step"),
        (("m31.fits", "--inspect", "-c", "gian=2"), "did you mean gain?"),
        (("m31.fits", "--inspect", "-c", "gain=much"), "it takes a number"),
        (("m31.fits", "--inspect", "-c", "gain"), "write it as name=value"),
        (("none.fits", "--inspect"), "none.fits"),
        (("m31.fits", "--inspect", "--preset", "broken.fits"), "cannot be read as JSON"),
        (("m31.fits", "all/../m31.fits", "--inspect"), "would both be worked on"),
        (("m31.fits", "--inspect", "--file", "../a=deep.fits"), "write it as name=path"),
        (("m31.fits", "--inspect", "--file", "a.fits=gone.fits"), "there is no file gone.fits"),
    ],
)
def test_a_slip_is_said_in_a_sentence_before_anything_is_done(
    observed: Path, words: tuple[str, ...], sentence: str
) -> None:
    answer = skyrelay(observed, *words)
    assert answer.returncode == 2
    assert sentence in " ".join(answer.stderr.replace("\n", " ").split())
    assert "Traceback" not in answer.stderr
    assert not (observed / "m31").exists()


def test_a_stage_that_takes_too_long_is_stopped(night: Path) -> None:
    answer = skyrelay(
        night, "m31.fits", "--inspect", "--photometry", "--json",
        "-c", "cat_name=local", "-c", "cat_file=stars.vot", "-c", "time_limit=1",
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    assert "took longer than 1 s" in json.loads(answer.stdout)[0]["reasons"][-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_it_is_ended_nothing_of_it_is_left(night: Path, number: signal.Signals) -> None:
    for copy in ("a.fits", "b.fits"):
        shutil.copyfile(night / "m31.fits", night / copy)
    mark = f"SKYRELAY_TEST_MARK={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        command(
            *("m31.fits", "a.fits", "b.fits", "-j", "2", "--inspect", "--photometry"),
            *("-c", "cat_name=local", "-c", "cat_file=stars.vot"),
        ),
        cwd=night,
        env={**ENVIRONMENT, name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As at a terminal, where the whole foreground group would hear Ctrl-C.
        start_new_session=True,
    )
    try:
        assert wait_until(lambda: (night / "m31" / ".scratch").exists(), HANGS)
        process.send_signal(number)
        output, errors = process.communicate(timeout=HANGS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == (-number if number == signal.SIGKILL else 130), errors
    assert wait_until(lambda: not processes_with(mark))
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert "cancelled" in output
