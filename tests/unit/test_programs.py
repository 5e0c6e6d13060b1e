"""Are external programs told apart by few names, and timed without a change of what they do?"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skyrelay import episodes
from skyrelay.episodes import Ending, Episode, Kind
from skyrelay.programs import program_of
from skyrelay.settings import Settings
from skyrelay.stage import programs


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Episode]:
    monkeypatch.setattr(os, "system", os.system)
    monkeypatch.setattr(subprocess, "run", subprocess.run)
    found: list[Episode] = []
    monkeypatch.setattr(episodes, "_listener", found.append)
    programs.watch(Settings(_env_file=None))
    return found


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/source-extractor 'an image.fits' -c x.sex > /dev/null", "sextractor"),
        (["/usr/bin/solve-field", "--overwrite"], "solve-field"),
        ("SWarp -c x", "swarp"),
        ("rm -rf scratch", "other"),
        ("", "other"),
    ],
)
def test_a_command_is_counted_under_one_of_few_names(command: str, name: str) -> None:
    found = program_of(programs.executable_of(command), Settings(_env_file=None))
    assert (found.name if found else programs.OTHER) == name


def test_what_an_attempt_has_started_is_told_with_its_version(
    noted: list[Episode], tmp_path: Path
) -> None:
    script = tmp_path / "hotpants"
    script.write_text("#!/bin/sh\necho usage:\necho Version 5.1.11b\nexit 1\n")
    script.chmod(0o755)
    mute = tmp_path / "swarp"
    mute.write_text("#!/bin/sh\n")
    mute.chmod(0o755)
    subprocess.run(["source-extractor", "-v"], capture_output=True)
    programs.forget()
    os.system(f"'{script}' -inim x > /dev/null")
    subprocess.run([mute])
    subprocess.run(["true"])
    assert programs.versions() == {
        "hotpants": "5.1.11b",
        "swarp": f"sha256:{hashlib.sha256(mute.read_bytes()).hexdigest()[:16]}",
    }
    subprocess.run(["source-extractor", "-v"], capture_output=True)
    assert programs.versions()["sextractor"].startswith("2.")
    assert {episode.name for episode in noted} == {"sextractor", "hotpants", "swarp", "other"}


def test_a_program_is_known_by_the_path_in_the_settings(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, stdpipe_hotpants="/opt/subtract")
    found = program_of("/opt/subtract", settings)
    assert found is not None and found.name == "hotpants"


def test_what_a_program_returns_and_how_long_it_takes_are_kept(noted: list[Episode]) -> None:
    assert os.system("sleep 0.1; exit 3") >> 8 == 3
    done = subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, text=True)
    assert done.stdout == "7\n"
    with pytest.raises(FileNotFoundError):
        subprocess.run(["/nowhere/scamp"])
    assert [(e.kind, e.name, e.ending) for e in noted] == [
        (Kind.PROGRAM, "other", Ending.FAILED),
        (Kind.PROGRAM, "other", Ending.OK),
        (Kind.PROGRAM, "scamp", Ending.FAILED),
    ]
    assert noted[0].seconds >= 0.1
