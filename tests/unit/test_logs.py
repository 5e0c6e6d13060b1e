"""Do lines say whose they are?"""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from uuid import UUID

import pytest

from skyrelay import logs
from skyrelay.messages import RunStage
from tests.support.lines import log_as_json

_RUN = UUID(int=7)
_log = logging.getLogger("tests.logs")


@pytest.fixture
def as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], None]:
    """To be called in the test: what is captured is another stream then."""
    return lambda: log_as_json(monkeypatch)


def _said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().err)
    return {name: found.get(name) for name in ("task", "run", "stage", "attempt")}


def test_a_line_says_which_attempt_it_is_about(
    as_json: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_json()
    command = RunStage(run=_RUN, task=3, index=0, step="inspect", attempt=2, config="x")
    with logs.about(command):
        _log.warning("a")
    assert _said(capsys) == {"task": 3, "run": str(_RUN), "stage": "inspect", "attempt": 2}


def test_what_is_known_further_out_stays(
    as_json: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_json()
    with logs.about(task=3, run=_RUN):
        with logs.about(stage="inspect"):
            _log.warning("a")
        assert _said(capsys) == {"task": 3, "run": str(_RUN), "stage": "inspect", "attempt": None}
        _log.warning("b")
        assert _said(capsys)["stage"] is None
    _log.warning("c")
    assert _said(capsys)["task"] is None


def test_what_becomes_known_later_stays_until_the_context_ends(
    as_json: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_json()
    with logs.about(stage="inspect"):
        logs.know(task=3, run=_RUN)
        _log.warning("a")
        assert _said(capsys) == {"task": 3, "run": str(_RUN), "stage": "inspect", "attempt": None}
    logs.know(task=4)
    _log.warning("b")
    assert _said(capsys)["task"] is None


def test_work_that_is_carried_into_a_thread_is_about_the_same(
    as_json: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_json()
    with logs.about(task=3):
        thread = threading.Thread(target=logs.carried(_log.warning), args=("a",))
    thread.start()
    thread.join()
    assert _said(capsys)["task"] == 3


def test_a_warning_is_a_line(
    as_json: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_json()
    with warnings.catch_warnings(), logs.about(task=3):
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("the header is odd", stacklevel=1)
        logging.captureWarnings(False)
    line = json.loads(capsys.readouterr().err)
    assert "the header is odd" in line["message"]
    assert (line["level"], line["task"]) == ("WARNING", 3)


@pytest.mark.parametrize("where", ["process", "thread"])
def test_what_ends_a_process_or_a_thread_is_a_line(
    where: str, as_json: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_json()
    if where == "thread":
        thread = threading.Thread(target=divmod, args=(1, 0))
        thread.start()
        thread.join()
    else:
        try:
            divmod(1, 0)
        except ZeroDivisionError as error:
            sys.excepthook(type(error), error, error.__traceback__)
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "CRITICAL"
    assert "ZeroDivisionError" in line["traceback"]
