"""What does a process tell Prometheus, and where?

Prometheus sees an increase between two looks only: the first failure of a process that did not tell
of any before is none to it. So what can happen is told as 0 from the beginning, where its labels
have few values that are known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: Where every process has its figures, beside its health.
PATH = "/metrics"

#: Names the folder in which processes that are told of at one port keep their figures, as
#: prometheus_client reads it when it is imported: so nothing here imports it beforehand.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: The text format of Prometheus.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


#: What is looked up when Prometheus asks, by this process.
_looked_up: list[Collector] = []


def look_up(collector: Collector) -> None:
    """Tell this, too, from now on."""
    _looked_up.append(collector)


def forget(pid: int) -> None:
    """A process that kept its figures with ours has ended: what it counted stays."""
    from prometheus_client import multiprocess

    if FOLDER_VARIABLE in os.environ:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def page() -> bytes:
    """All figures of this process, or of all that share its port."""
    from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess

    registry = CollectorRegistry()
    if FOLDER_VARIABLE in os.environ:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    for collector in _looked_up:
        registry.register(collector)
    return generate_latest(registry)
