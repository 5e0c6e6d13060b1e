"""In which order do the files of tests come to pytest-xdist's processes?

A pytest plugin. The tests of a file stay in one process: they share what is dear to make. So do
those of a folder within a tier, as `tests/integration/whole/`: they share what is dearer still.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

#: Parts of the path of a file that is in no folder of its tier: tests/TIER/FILE.
_IN_A_TIER = 3
#: Tiers whose tests wait for processes: the files of few tests take longest.
_WAITING = {"integration", "fault"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: the file takes long, and is among the first begun")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end one process would be left with them."""
    tests = Counter(item.path for item in items)
    long = {item.path for item in items if item.get_closest_marker("long")}

    def turn(item: pytest.Item) -> tuple[bool, int]:
        few_first = not _WAITING.isdisjoint(item.nodeid.split("/")[:2])
        return item.path not in long, tests[item.path] * (1 if few_first else -1)

    items.sort(key=turn)


class Turns(LoadFileScheduling):  # type: ignore[misc]
    """Files and folders as they come, also for a process that replaces one that has crashed."""

    def _split_scope(self, nodeid: str) -> str:
        """What of the tests stays together with this one."""
        path = PurePosixPath(nodeid.partition("::")[0])
        return str(path.parent if len(path.parts) > _IN_A_TIER else path)

    def schedule(self) -> None:
        """Give out files.

        A process does a test when it has been told what comes after it. One that comes later gets
        a single file from xdist: if that has a single test, both would wait for ever.
        """
        super().schedule()
        for node in self.nodes:
            self._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return Turns(config, log) if config.option.dist == "loadfile" else None
