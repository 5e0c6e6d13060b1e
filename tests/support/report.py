"""How does a test tell what it has measured, to be read after the last test?

A pytest plugin: the fixture `report`, and a section of the terminal summary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: Under this name the lines travel with a test's report, from whichever process ran it.
_MEASURED = "measured"


class Report:
    """Lines for the summary; nothing is ever asserted about them."""

    def __init__(self, test: pytest.Item) -> None:
        self._test = test

    def say(self, line: str) -> None:
        """Add a line."""
        self._test.user_properties.append((_MEASURED, line))

    @contextmanager
    def time(self, what: str) -> Iterator[None]:
        """Add how long it took, if it succeeded."""
        begun = time.monotonic()
        yield
        self.say(f"{time.monotonic() - begun:6.1f} s  {what}")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Takes what the test has measured."""
    return Report(request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        line
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, line in report.user_properties
        if name == _MEASURED
    ]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(str(line))
