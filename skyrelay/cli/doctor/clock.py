"""Is this machine's clock right, as far as others can tell?

Waiting times, leases of S3 and expiries are told by several machines' clocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime

import requests

from skyrelay.cli.doctor.finding import Finding, Health
from skyrelay.cli.doctor.sky import KNOWN
from skyrelay.programs import PATIENCE
from skyrelay.settings import Settings

#: Seconds by which clocks may differ before waiting times make no sense.
SKEW = 5.0


def clock(settings: Settings, ask_sky: bool) -> Iterator[Finding]:
    """By how much it differs from those of the database, of S3, and of the sky services."""
    clocks = {"the database": _database, "S3": _bucket}
    if ask_sky and not settings.skyrelay_offline:
        clocks["a sky service"] = _sky
    skews = {
        name: skew for name, told in clocks.items() if (skew := _skew(told, settings)) is not None
    }
    if not skews:
        yield Finding(Health.NOTE, "clock", "there is nobody to compare it with")
        return
    for name, skew in skews.items():
        if abs(skew) > SKEW:
            said = f"{skew:+.0f} s from that of {name}; set the one that is wrong (chrony, ntp)"
            yield Finding(Health.BAD, "clock", said)
    if all(abs(skew) <= SKEW for skew in skews.values()):
        yield Finding(Health.GOOD, "clock", f"as that of {' and of '.join(skews)}")


def _skew(told: Callable[[Settings], float | None], settings: Settings) -> float | None:
    """Seconds by which our clock is ahead of the one that is asked, if that says so in time."""
    begun = time.time()
    theirs = told(settings)
    ended = time.time()
    return None if theirs is None or ended - begun > SKEW else (begun + ended) / 2 - theirs


def _database(settings: Settings) -> float | None:
    """A file of SQLite has no clock of its own."""
    try:
        from gateway.database import Database
    except ModuleNotFoundError:
        return None
    database = Database(settings.database_url)
    try:
        return None if database.is_sqlite or not database.answers() else database.now()
    finally:
        database.close()


def _bucket(settings: Settings) -> float | None:
    if not settings.tasks_url:
        return None
    from skyrelay.store.s3.bucket import Bucket

    with suppress(OSError, ValueError):
        return Bucket(settings.tasks_url).now()
    return None


def _sky(settings: Settings) -> float | None:
    """The first that answers."""
    for service in KNOWN:
        for address in service.addresses(settings):
            with suppress(requests.RequestException, TypeError, ValueError):
                with requests.get(address, timeout=PATIENCE, stream=True) as answer:
                    return parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    return None
