"""Do lines say whose they are?"""

from __future__ import annotations

import json
import logging
from uuid import UUID

import pytest

from skyrelay import logs
from skyrelay.messages import RunStage
from skyrelay.settings import Settings

_RUN = UUID(int=7)
_log = logging.getLogger("tests.logs")


def _as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as JSON on the error output, as it is captured now, until the test ends."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure(Settings(_env_file=None, skyrelay_log_format="json"))


def _said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().err)
    return {name: found.get(name) for name in ("task", "run", "stage", "attempt")}


def test_a_line_says_which_attempt_it_is_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _as_json(monkeypatch)
    command = RunStage(run=_RUN, task=3, index=0, step="inspect", attempt=2, config="x")
    with logs.about(command):
        _log.warning("a")
    assert _said(capsys) == {"task": 3, "run": str(_RUN), "stage": "inspect", "attempt": 2}


def test_what_is_known_further_out_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _as_json(monkeypatch)
    with logs.about(task=3, run=_RUN):
        with logs.about(stage="inspect"):
            _log.warning("a")
        assert _said(capsys) == {"task": 3, "run": str(_RUN), "stage": "inspect", "attempt": None}
        _log.warning("b")
        assert _said(capsys)["stage"] is None
    _log.warning("c")
    assert _said(capsys)["task"] is None
