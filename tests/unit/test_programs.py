"""Are external programs told apart by few names, and timed without a change of what they do?"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from skyrelay import episodes
from skyrelay.episodes import Ending, Episode, Kind
from skyrelay.stage import programs


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Episode]:
    monkeypatch.setattr(os, "system", os.system)
    monkeypatch.setattr(subprocess, "run", subprocess.run)
    found: list[Episode] = []
    monkeypatch.setattr(episodes, "_listener", found.append)
    programs.watch()
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
    assert programs.name_of(command) == name


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
