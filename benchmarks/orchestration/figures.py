"""What is measured of a system that runs chains, in which units?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the request to the end of a chain."""

    median: float
    p95: float
    chains: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """What these times come to."""
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return cls(1000 * statistics.median(ordered), 1000 * p95, len(ordered))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One system's figures.

    Attributes
    ----------
    seen : Latency
        Until a client that asks again and again has read that the chain is over.
    recorded : Latency
        Of the same chains, until the moment that the database has as their end.
    undisturbed : Latency
        Until that moment, of chains during which nobody asks anything.
    cpu_alone, cpu_at_once : dict
        Processor seconds per chain of each process, one chain at a time (undisturbed) and all at
        once.
    others : float
        How many processors the rest of the machine kept busy while chains ran at once.
    chains_per_second : float
        All at once, their submission included.
    statements, commits, messages : float
        Per chain, alone.
    grown : dict
        MiB by which each process has grown while the chains were run at once.
    """

    seen: Latency
    recorded: Latency
    undisturbed: Latency
    cpu_alone: dict[str, float]
    cpu_at_once: dict[str, float]
    others: float
    chains_at_once: int
    chains_per_second: float
    messages: float
    statements: float | None = None
    commits: float | None = None
    messages_by_exchange: dict[str, float] = field(default_factory=dict)
    grown: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """How many chains: before anything is measured, one at a time, and all at once."""

    warm_up: int = 20
    alone: int = 100
    at_once: int = 1000

    #: Seconds between two chains that run alone: what is left of one must not slow the next.
    pause: float = 0.03


#: What was published of STDWeb itself (gunicorn, Celery on Redis, SQLite, no-op stages), measured
#: on another machine of two cores: smallest and largest.
STDWEB = {"latency": (113.0, 151.0), "chains_per_second": (11.0, 11.0), "cpu": (0.12, 0.16)}
