"""What does a replica count, and what does it leave of an attempt in the trace of its run?

Labels are few and bounded: steps, outcomes, services of the sky, known programs. The service is
known from the address under which Prometheus reads this.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from skyrelay import episodes, programs, tracing
from skyrelay.episodes import Ending, Episode, Kind
from skyrelay.messages import Outcome, RunStage
from skyrelay.settings import Settings, sky_services
from skyrelay.stage.answers import Ended
from skyrelay.stage.programs import OTHER
from skyrelay.stages import stages_of_service
from skyrelay.store import figures

#: Seconds: from what is over at once to the longest stage.
_LONG = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
#: Seconds: what a service in the network takes, from next door to its time limit.
_REMOTE = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)
#: Seconds: a kill is to act within a blink; the grace and the guard's patience come after it.
_KILL = (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 30)

RUNNING = Histogram(
    "skyrelay_stage_running_seconds",
    "From the claim of an attempt to its end, by its outcome",
    ["stage", "outcome"],
    buckets=_LONG,
)
WAITING = Histogram(
    "skyrelay_stage_waiting_seconds",
    "From the decision that a stage is to be done to the beginning of its science",
    ["stage"],
    buckets=_LONG,
)
RETRIES = Counter("skyrelay_stage_retries", "Attempts that are to be tried again", ["stage"])
CRASHES = Counter("skyrelay_worker_crashes", "Workers that died over an attempt", ["stage"])
WORKERS_STARTED = Counter("skyrelay_workers_started", "Worker processes that were started")
KILLS = Histogram(
    "skyrelay_kill_seconds",
    "From hearing that an attempt must stop to the last of its processes gone, by the reason",
    ["why"],
    buckets=_KILL,
)
SKY = Histogram(
    "skyrelay_sky_seconds",
    "One address of a sky service, from the question to its answer, read",
    ["service"],
    buckets=_REMOTE,
)
SKY_ASKED = Counter(
    "skyrelay_sky_asked", "Questions to sky services, by how they ended", ["service", "ending"]
)
SKY_BYTES = Counter("skyrelay_sky_received_bytes", "What sky services have sent", ["service"])
CACHE = Counter(
    "skyrelay_sky_cache", "Looks into the cache of the sky services", ["service", "ending"]
)
PROGRAMS = Histogram(
    "skyrelay_program_seconds",
    "External programs, by how they ended",
    ["program", "ending"],
    buckets=_LONG,
)
SLOTS = Gauge("skyrelay_slots", "Stages that the replica may work on at once")
# Told where the tasks are in S3 only.
SCRATCH_FREE = Gauge("skyrelay_scratch_free_bytes", "Room for work", registry=None)
SCRATCH_SIZE = Gauge(
    "skyrelay_scratch_size_bytes", "Size of the file system of that room", registry=None
)
IN_HAND = Gauge("skyrelay_in_hand", "Commands that the replica has not settled")

#: What was noted in native threads. The locks of the figures are green, and not for those.
_elsewhere: deque[Episode] = deque()


def begin(
    settings: Settings, service: str, in_hand: Callable[[], int], reasons: Iterable[str]
) -> None:
    """The replica starts; ``reasons`` are those for which an attempt may be stopped."""
    tracing.begin(settings, service)
    episodes.listen(_heard)
    SLOTS.set(settings.skyrelay_slots)
    IN_HAND.set_function(in_hand)
    if settings.tasks_url:
        figures.begin()
        _begin_scratch(settings.tasks_path)
    for reason in reasons:
        KILLS.labels(reason)
    _begin_stages(service)
    _begin_episodes()


def _begin_scratch(folder: Path) -> None:
    room = partial(os.statvfs, folder)
    SCRATCH_FREE.set_function(lambda: room().f_bavail * room().f_frsize)
    SCRATCH_SIZE.set_function(lambda: room().f_blocks * room().f_frsize)
    for figure in (SCRATCH_FREE, SCRATCH_SIZE):
        REGISTRY.register(figure)


def _begin_stages(service: str) -> None:
    for stage in stages_of_service(service):
        for outcome in Outcome:
            RUNNING.labels(stage.step, outcome.value)
        for figure in (WAITING, RETRIES, CRASHES):
            figure.labels(stage.step)


def _begin_episodes() -> None:
    for service in sky_services():
        SKY.labels(service)
        SKY_BYTES.labels(service)
        for ending in (Ending.OK, Ending.FAILED, Ending.REFUSED):
            SKY_ASKED.labels(service, ending.value)
        for ending in (Ending.HIT, Ending.MISS):
            CACHE.labels(service, ending.value)
    for program in (*(each.name for each in programs.PROGRAMS), OTHER):
        for ending in (Ending.OK, Ending.FAILED):
            PROGRAMS.labels(program, ending.value)


def end() -> None:
    """The replica ends."""
    tracing.end()


def _heard(episode: Episode) -> None:
    """The replica itself has waited for the store; perhaps in a native thread, see `_elsewhere`."""
    _elsewhere.append(episode)
    if threading.get_native_id() == os.getpid():
        _count_those()


def _count_those() -> None:
    while _elsewhere:
        figures.count(_elsewhere.popleft())


def finished(command: RunStage, ended: Ended) -> None:
    """An attempt has come to its end."""
    _count_those()
    seconds = (ended.finished - ended.started).total_seconds()
    RUNNING.labels(command.step, ended.outcome.value).observe(seconds)
    WAITING.labels(command.step).observe((ended.started - command.sent).total_seconds())
    tracing.attempt(command, (ended.started, ended.finished), ended.outcome.value, ended.reasons)


def retried(command: RunStage, started: datetime | None, reason: str) -> None:
    """An attempt is given up, and another one follows."""
    RETRIES.labels(command.step).inc()
    now = datetime.now(UTC)
    tracing.attempt(command, (started or now, now), "superseded", (reason,))


def crashed(command: RunStage) -> None:
    """A worker has died over this command."""
    CRASHES.labels(command.step).inc()


def stopped(why: str, seconds: float) -> None:
    """An attempt was stopped from outside; so long it took until nothing of it was left."""
    KILLS.labels(why).observe(seconds)


def noted(command: RunStage, episode: Episode) -> None:
    """The science has waited for somebody else."""
    if episode.kind is Kind.STORE:
        figures.count(episode)
        return
    if episode.kind is Kind.CACHE:
        CACHE.labels(episode.name, episode.ending.value).inc()
        return
    if episode.kind is Kind.SKY:
        SKY.labels(episode.name).observe(episode.seconds)
        SKY_ASKED.labels(episode.name, episode.ending.value).inc()
        SKY_BYTES.labels(episode.name).inc(episode.size)
    else:
        PROGRAMS.labels(episode.name, episode.ending.value).observe(episode.seconds)
    tracing.episode(command, episode)
