"""How does a test tell what it has measured, to be read after the last test?

A pytest plugin: the fixture `report`, and a section of the terminal summary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_LINES = pytest.StashKey[list[str]]()


class Report:
    """Lines for the summary; nothing is ever asserted about them."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def say(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)

    @contextmanager
    def time(self, what: str) -> Iterator[None]:
        """Add how long it took, if it succeeded."""
        begun = time.monotonic()
        yield
        self.say(f"{time.monotonic() - begun:6.1f} s  {what}")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Takes what the test has measured."""
    return Report(request.config.stash.setdefault(_LINES, []))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash.get(_LINES, []):
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)
