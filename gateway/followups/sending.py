"""How is a call to an address outside made, noted down, and made again later if it fails?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from gateway.followups.calls import Caller, CallFailed
from gateway.models import DeliveryState, now
from skyrelay.settings import Settings

#: Calls made at once.
CALLS = 8
#: A call that was begun and of which nothing was heard belongs to a process that has died.
HOLD = timedelta(minutes=1)
#: For how long the log of calls is kept.
KEPT = timedelta(days=30)


def send(settings: Settings, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Post JSON there once; what is to be noted of it, with an empty ``error`` if it was taken."""
    begun = now()
    status, error = 0, ""
    try:
        caller = Caller.of(settings.skyrelay_webhook_networks)
        given = {"Content-Type": "application/json", "User-Agent": "Skyrelay", **headers}
        status = caller.post(url, body, given)
    except CallFailed as failure:
        error = str(failure)
    if not error and not 200 <= status < 300:
        error = f"it answered {status}"
    return {
        "at": begun.isoformat(),
        "status": status or None,
        "seconds": round((now() - begun).total_seconds(), 3),
        "error": error,
    }


def after(
    settings: Settings, before: Sequence[dict[str, Any]], tried: dict[str, Any]
) -> dict[str, Any]:
    """What a delivery becomes with this try after those before it: columns of its row."""
    tries = [*before, tried]
    delays = settings.skyrelay_webhook_delays
    values: dict[str, Any] = {"tries": tries, "last_error": tried["error"]}
    if not tried["error"]:
        values["state"] = DeliveryState.DELIVERED
    elif len(tries) > len(delays):
        values["state"] = DeliveryState.FAILED
    else:
        values["due"] = now() + timedelta(seconds=delays[len(tries) - 1])
    return values
