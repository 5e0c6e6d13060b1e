"""Does the table of parity name only tests that exist, and states that mean something?"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARITY = (ROOT / "docs" / "parity.md").read_text()
ROWS = [line for line in PARITY.splitlines() if re.match(r"\| \d", line)]


def test_every_row_has_a_known_state() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        _, state, why, _ = re.split(r" ?(?<!\\)\| ?", row)[2:]
        assert state in ("works", "fixed", "not yet", "dropped"), row
        assert state == "not yet" or why, row


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"(tests/\w+/test_\w+\.py)(?:::(test_\w+))?", PARITY))
    assert named
    for path, function in named:
        assert (ROOT / path).is_file(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text(), function
