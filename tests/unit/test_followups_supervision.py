"""Is the process of the follow-ups there again, whatever was in the way of its start?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.followups.supervision import FollowUpsProcess
from tests.support.processes import wait_until


def test_a_process_that_could_not_be_started_is_started_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program, begun = tmp_path / "program", tmp_path / "begun"
    monkeypatch.setattr(sys, "executable", str(program))
    process = FollowUpsProcess()
    process.start()
    try:
        assert wait_until(lambda: "cannot be started" in caplog.text)
        made = tmp_path / "made"
        made.write_text(f"#!/bin/sh\ntouch {begun}\nexec sleep 600\n")
        made.chmod(0o755)
        made.rename(program)
        assert wait_until(begun.exists)
    finally:
        process.stop()
