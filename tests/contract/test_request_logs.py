"""Does what the gateway logs while it answers say which task it is about?"""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import Bench, Caller
from tests.support.lines import log_as_json

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_what_a_request_logs_says_which_task_it_is_about(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_as_json(monkeypatch)
    task = alice.new_task()

    def broken(*_: object) -> None:
        raise RuntimeError("it cannot be removed")

    monkeypatch.setattr(bench.gateway.store, "remove", broken)
    assert alice("DELETE", f"tasks/{task}/files/x").status_code == 500
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in said if "unexpected error" in line["message"]]
    assert (line["task"], line["user"]) == (task, "alice")
