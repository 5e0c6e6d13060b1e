"""What does a process tell Prometheus?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import requests
from prometheus_client import REGISTRY, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.processes import wait_until

#: Seconds for an answer: more than a process takes that looks everything up while the machine
#: stands still for a while, less than it takes if it waits for a bucket that is away.
_PATIENCE = 25


class Figures:
    """All samples of one look at ``/metrics``."""

    def __init__(self, address: str) -> None:
        answer = requests.get(f"{address}/metrics", timeout=_PATIENCE)
        answer.raise_for_status()
        self.families: list[Metric] = list(text_string_to_metric_families(answer.text))

    @classmethod
    def when(cls, address: str, condition: Callable[[Self], object]) -> Self:
        """Those of the first look at which this holds, or of the last if it never does."""
        looks: list[Self] = []

        def holds() -> object:
            looks[:] = [cls(address)]
            return condition(looks[0])

        wait_until(holds)
        return looks[0]

    @classmethod
    def here(cls, families: Iterable[Metric]) -> Self:
        """Those of a collector in this process, at one look."""
        found = cls.__new__(cls)
        found.families = list(families)
        return found

    @property
    def samples(self) -> list[Sample]:
        """All of them."""
        return [sample for family in self.families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels; 0 if there is none."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is any sample of this name with these labels."""
        return any(
            sample.name == name and labels.items() <= sample.labels.items()
            for sample in self.samples
        )


def readable(figures: Figures) -> dict[str, float]:
    """Which parts a process of the events could ask what waits there."""
    parts = ("database", "broker", "store")
    return {part: figures("skyrelay_backlog_readable", part=part) for part in parts}


class Growth:
    """By how much the figures of this process have grown since now."""

    def __init__(self) -> None:
        self._before = Figures.here(REGISTRY.collect())

    def __call__(self, name: str, **labels: str) -> float:
        """The growth of all samples of this name with these labels."""
        return Figures.here(REGISTRY.collect())(name, **labels) - self._before(name, **labels)
