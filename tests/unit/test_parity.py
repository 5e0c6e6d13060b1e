"""Do the tables of parity and guarantees name only tests that exist, and known states?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARITY, GUARANTEES = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("parity", "guarantees")
)
ROWS = [line for line in PARITY.splitlines() if re.match(r"\| \d", line)]


def test_every_row_has_a_known_state() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        _, state, why, _ = re.split(r" ?(?<!\\)\| ?", row)[2:]
        assert state in ("works", "fixed", "not yet", "dropped"), row
        assert state == "not yet" or why, row


@pytest.mark.parametrize("document", [PARITY, GUARANTEES], ids=["parity", "guarantees"])
def test_every_test_that_is_named_exists(document: str) -> None:
    named = set(re.findall(r"(tests/\w+/test_\w+\.py)(?:::(test_\w+))?", document))
    assert named
    for path, function in named:
        assert (ROOT / path).is_file(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text(), function
