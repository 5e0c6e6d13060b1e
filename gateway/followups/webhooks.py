"""How are the addresses that users have named told of what has happened to their tasks?

First one row for each address that is to be told, in the transaction in which the duty goes: none
is forgotten, and none is told twice on our account. Then each row is delivered, and tried again
later and later, until the address has answered with success or all tries are used up.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import joinedload

from gateway.core import Gateway
from gateway.followups import duties, observation
from gateway.followups.sending import CALLS, HOLD, KEPT, after, send
from gateway.models import IS_PENDING, DeliveryState, Duty, FollowUp, Webhook, WebhookDelivery, now
from skyrelay import logs

_log = logging.getLogger(__name__)

#: Duties taken on at once.
_AT_ONCE = 50


def secret_of(secret_key: str, webhook: Webhook) -> str:
    """The secret with which calls of this webhook are signed; never stored."""
    return hmac.new(
        secret_key.encode(), f"webhook:{webhook.nonce}".encode(), hashlib.sha256
    ).hexdigest()


def signature(secret: str, moment: int, body: bytes) -> str:
    """The header that proves where a call is from, and when it was made (seconds since 1970)."""
    signed = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={signed}"


def spread(gateway: Gateway) -> bool:
    """Make deliveries of what is to be told; whether there was anything to do."""
    claimed = duties.claim(gateway.database, Duty.NOTIFY, _AT_ONCE)
    if not claimed:
        return False
    with gateway.database.writing() as session:
        users = {each.about.get("user") for each in claimed}
        hooks = session.scalars(
            select(Webhook).where(Webhook.user_id.in_(users), Webhook.active)
        ).all()
        known = select(WebhookDelivery.webhook_id, WebhookDelivery.cause).where(
            WebhookDelivery.cause.in_([each.id for each in claimed])
        )
        told = {(hook, cause) for hook, cause in session.execute(known)}
        for each in claimed:
            for hook in hooks:
                if _concerns(hook, each) and (hook.id, each.id) not in told:
                    session.add(_delivery(hook, each))
        duties.done(session, claimed)
    return True


def _concerns(hook: Webhook, duty: FollowUp) -> bool:
    wanted = not hook.events or duty.about.get("event") in hook.events
    return wanted and hook.user_id == duty.about.get("user")


def _delivery(hook: Webhook, duty: FollowUp) -> WebhookDelivery:
    told: dict[str, Any] = {key: value for key, value in duty.about.items() if key != "user"}
    body = {"version": 1, "happened": duty.created.isoformat(), **told}
    return WebhookDelivery(
        webhook_id=hook.id, cause=duty.id, event=str(told["event"]), body=json.dumps(body)
    )


def deliver(gateway: Gateway) -> bool:
    """Make some of the calls that are due; whether there were any."""
    claimed = _claim(gateway)
    if not claimed:
        return False
    with ThreadPoolExecutor(CALLS) as pool:
        list(pool.map(lambda each: _call(gateway, each), claimed))
    return True


def _claim(gateway: Gateway) -> Sequence[WebhookDelivery]:
    """Deliveries that are due, one for each address, so that a slow one keeps no other waiting."""
    due = (
        select(WebhookDelivery.id)
        .join(Webhook)
        .where(IS_PENDING, WebhookDelivery.due <= now(), Webhook.active)
    )
    with gateway.database.reading() as session:
        if session.scalar(due.limit(1)) is None:
            return []
    order = (WebhookDelivery.due, WebhookDelivery.id)
    place = func.row_number().over(partition_by=WebhookDelivery.webhook_id, order_by=order)
    numbered = due.add_columns(place.label("place")).subquery()
    first = (
        select(WebhookDelivery)
        .where(WebhookDelivery.id.in_(select(numbered.c.id).where(numbered.c.place == 1)))
        # Another process may have claimed it since: then it is not due any more.
        .where(IS_PENDING, WebhookDelivery.due <= now())
        .options(joinedload(WebhookDelivery.webhook))
        .order_by(*order)
        .limit(CALLS)
        .with_for_update(skip_locked=True, of=WebhookDelivery)
    )
    with gateway.database.writing() as session:
        claimed = session.scalars(first).all()
        for each in claimed:
            each.due = now() + HOLD
    return claimed


def _call(gateway: Gateway, delivery: WebhookDelivery) -> None:
    hook, body = delivery.webhook, delivery.body.encode()
    headers = {
        "X-Skyrelay-Event": delivery.event,
        "X-Skyrelay-Delivery": str(delivery.id),
        "X-Skyrelay-Signature": signature(
            secret_of(gateway.settings.secret_key, hook), int(time.time()), body
        ),
    }
    tried = send(gateway.settings, hook.url, body, headers)
    values = after(gateway.settings, delivery.tries, tried)
    observation.called(delivery, values, tried)
    if tried["error"]:
        run, task = observation.place_of(delivery)
        with logs.about(task=task, run=run):
            _log.warning("webhook %d does not take a call: %s", hook.id, tried["error"])
    with gateway.database.writing() as session:
        session.execute(
            update(WebhookDelivery).where(WebhookDelivery.id == delivery.id).values(**values)
        )


def forget_old(gateway: Gateway) -> None:
    """Take what is long over out of the log of deliveries."""
    with gateway.database.writing() as session:
        session.execute(
            delete(WebhookDelivery).where(
                WebhookDelivery.created < now() - KEPT,
                WebhookDelivery.state != DeliveryState.PENDING,
            )
        )
