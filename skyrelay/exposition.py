"""What does a process tell Prometheus, and where?"""

from __future__ import annotations

import os

#: Where every process has its figures, beside its health.
PATH = "/metrics"

#: Names the folder in which processes that serve one port together keep their figures, as
#: prometheus_client reads it when it is imported: so nothing here imports it beforehand.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: The text format of Prometheus.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page() -> bytes:
    """All figures of this process, or of all that share its port."""
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess

    if FOLDER_VARIABLE not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
