"""Is another try made where the machine has failed, and none where the image has?"""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skyrelay.errors import Permanent, Retriable
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.context import StageContext
from skyrelay.stage.execute import DISK_FULL, StageResult, Workplace, execute
from skyrelay.stages import INSPECT


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Where the science named `science_of_this_test` is at work."""
    stage = replace(INSPECT, science_module="science_of_this_test")
    for name in ("folder", "temporary"):
        (tmp_path / name).mkdir()
    settings = Settings(_env_file=None, data_path=tmp_path)
    return Workplace(stage, tmp_path / "folder", {}, settings, tmp_path / "temporary")


def _execute(place: Workplace, monkeypatch: pytest.MonkeyPatch, error: Exception) -> StageResult:
    def run(_: StageContext) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "science_of_this_test", SimpleNamespace(run=run))
    return execute(place)


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _unreadable(cause: Exception) -> Permanent:
    try:
        try:
            raise cause
        except Exception:
            raise Permanent("The file image.fits cannot be read.") from None
    except Permanent as error:
        return error


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EAGAIN])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_machine_that_fails_is_no_fault_of_the_image(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, number: int, wrapped: bool
) -> None:
    error = _os_error(number)
    with pytest.raises(Retriable, match="has failed"):
        _execute(place, monkeypatch, _unreadable(error) if wrapped else error)
    assert "has failed" in (place.folder / INSPECT.log_name).read_text()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_os_error(errno.ENOSPC), DISK_FULL),
        (_os_error(errno.ENOENT), "Internal error in "),
        (OSError("Empty or corrupt FITS file"), "Internal error in "),
        (_unreadable(OSError("Empty or corrupt FITS file")), "The file image.fits cannot be read."),
    ],
)
def test_another_try_would_not_help_an_image_that_is_broken_or_a_disk_that_is_full(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    result = _execute(place, monkeypatch, error)
    assert result.outcome is Outcome.FAILED
    assert result.reasons[0].startswith(reason)
