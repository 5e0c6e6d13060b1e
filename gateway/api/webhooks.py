"""How does a user have an address called when something has happened to the user's tasks?"""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, NotRequired

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from gateway.api import query, schemas, serializers
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import Body, read_body
from gateway.api.errors import invalid, not_found, refused
from gateway.current import gateway
from gateway.followups.calls import Caller, CallFailed
from gateway.followups.events import EVENTS
from gateway.followups.webhooks import secret_of
from gateway.models import LARGEST_ID, DeliveryState, Webhook, WebhookDelivery, now
from gateway.openapi import NOTHING, documented

blueprint = Blueprint("webhooks", __name__)

_LONGEST_URL = 2000
#: Webhooks of one user.
_MOST = 20
_USUAL_PAGE, _LARGEST_PAGE = 50, 500


_Events = Annotated[
    list[str],
    Field(description=f"Some of {', '.join(EVENTS)}; empty: all.", examples=[["run.done"]]),
]
_Active = Annotated[bool, Field(examples=[True])]


class _WebhookChange(TypedDict, total=False):
    url: schemas.Url
    events: _Events
    active: _Active


@schemas.exact
class _WebhookAnswer(TypedDict):
    id: Annotated[int, Field(examples=[5])]
    url: schemas.Url
    events: _Events
    active: _Active
    created: schemas.Moment
    secret: NotRequired[
        Annotated[str, Field(description="With which calls are signed.", examples=["4f2c..."])]
    ]


@schemas.exact
class _Delivery(TypedDict):
    id: Annotated[int, Field(examples=[11])]
    event: Annotated[str, Field(examples=["run.done"])]
    state: Annotated[str, Field(description=", ".join(DeliveryState), examples=["delivered"])]
    created: schemas.Moment
    due: Annotated[str | None, Field(description="Of the next try.", examples=[None])]
    tries: Annotated[
        list[dict[str, Any]],
        Field(
            description="at, status, seconds and error of each",
            examples=[[{"at": "2026-03-01T21:14:05Z", "status": 204, "seconds": 0.1, "error": ""}]],
        ),
    ]
    last_error: Annotated[str, Field(examples=[""])]
    body: Annotated[dict[str, Any], Field(examples=[{"version": 1, "event": "run.done"}])]


class _Page(TypedDict, total=False):
    limit: schemas.Limit
    offset: schemas.Offset


@blueprint.get("/webhooks/")
@documented({200: list[_WebhookAnswer]})
def list_webhooks() -> ResponseReturnValue:
    """The user's webhooks."""
    with gateway().database.reading() as session:
        found = session.scalars(
            select(Webhook).where(Webhook.user_id == current_user().id).order_by(Webhook.id)
        ).all()
    return jsonify([_shown(each) for each in found])


@blueprint.post("/webhooks/")
@documented({201: _WebhookAnswer}, body=_WebhookChange, errors=(409,))
def create_webhook() -> ResponseReturnValue:
    """Have ``url`` called for ``events`` (all if none is named); the answer has the secret."""
    body = read_body(files_too=False)
    hook = Webhook(user_id=current_user().id, nonce=secrets.token_hex(16), events=[])
    if not body.text("url", _LONGEST_URL):
        raise invalid(url="This field is required.")
    _change(hook, body)
    with gateway().database.writing() as session:
        counted = select(func.count()).where(Webhook.user_id == current_user().id)
        if (session.scalar(counted) or 0) >= _MOST:
            raise refused(409, f"There are {_MOST} webhooks already: delete one first.")
        session.add(hook)
        session.flush()
        remember_request(session, "webhook_create", webhook=hook.id, url=hook.url)
    return jsonify(_shown(hook) | {"secret": secret_of(gateway().settings.secret_key, hook)}), 201


@blueprint.get("/webhooks/<int:webhook_id>/")
@documented({200: _WebhookAnswer}, errors=(403,))
def read_webhook(webhook_id: int) -> ResponseReturnValue:
    """One webhook, with its secret."""
    with gateway().database.reading() as session:
        hook = _get(session, webhook_id)
    return jsonify(_shown(hook) | {"secret": secret_of(gateway().settings.secret_key, hook)})


@blueprint.patch("/webhooks/<int:webhook_id>/")
@documented({200: _WebhookAnswer}, body=_WebhookChange, errors=(403,))
def update_webhook(webhook_id: int) -> ResponseReturnValue:
    """Change url, events, or whether it is active; what is not sent stays as it is."""
    body = read_body(files_too=False)
    with gateway().database.writing() as session:
        hook = _get(session, webhook_id)
        _change(hook, body)
        remember_request(session, "webhook_update", webhook=hook.id, url=hook.url)
    return jsonify(_shown(hook))


@blueprint.delete("/webhooks/<int:webhook_id>/")
@documented({204: NOTHING}, errors=(403,))
def delete_webhook(webhook_id: int) -> ResponseReturnValue:
    """Delete a webhook with its log; what was not delivered yet never is."""
    with gateway().database.writing() as session:
        hook = _get(session, webhook_id)
        remember_request(session, "webhook_delete", webhook=hook.id, url=hook.url)
        session.delete(hook)
    return Response(status=204)


@blueprint.get("/webhooks/<int:webhook_id>/deliveries/")
@documented({200: list[_Delivery]}, query=_Page, errors=(400, 403))
def list_deliveries(webhook_id: int) -> ResponseReturnValue:
    """The log of a webhook, newest first: what was sent, when, and what was answered."""
    limit = query.integer("limit", least=1, most=_LARGEST_PAGE, default=_USUAL_PAGE)
    offset = query.integer("offset", least=0, most=query.LARGEST_OFFSET, default=0)
    with gateway().database.reading() as session:
        hook = _get(session, webhook_id)
        found = session.scalars(
            select(WebhookDelivery)
            .where(WebhookDelivery.webhook_id == hook.id)
            .order_by(WebhookDelivery.id.desc())
            .limit(limit)
            .offset(offset)
        ).all()
    return jsonify([_delivery(each) for each in found])


@blueprint.post("/webhooks/<int:webhook_id>/deliveries/<int:delivery_id>/redeliver/")
@documented({202: _Delivery}, errors=(403,))
def redeliver(webhook_id: int, delivery_id: int) -> ResponseReturnValue:
    """Send a delivery once more, now."""
    with gateway().database.writing() as session:
        hook = _get(session, webhook_id)
        found = session.get(WebhookDelivery, delivery_id) if delivery_id <= LARGEST_ID else None
        if found is None or found.webhook_id != hook.id:
            raise not_found()
        found.state, found.due = DeliveryState.PENDING, now()
        remember_request(session, "webhook_redeliver", webhook=hook.id, delivery=found.id)
    return jsonify(_delivery(found)), 202


def _get(session: Session, webhook_id: int) -> Webhook:
    found = session.get(Webhook, webhook_id) if webhook_id <= LARGEST_ID else None
    if found is None:
        raise not_found()
    if found.user_id != current_user().id:
        raise refused(403, "Permission denied")
    return found


def _change(hook: Webhook, body: Body) -> None:
    if "url" in body:
        hook.url = body.text("url", _LONGEST_URL)
        try:
            Caller.of(gateway().settings.skyrelay_webhook_networks).check(hook.url)
        except CallFailed as error:
            raise invalid(url=f"This address cannot be called: {error}.") from error
    if "events" in body:
        hook.events = body.texts("events")
        for name in hook.events:
            if name not in EVENTS:
                raise invalid(events=f"There is no event {name}: take some of {', '.join(EVENTS)}.")
    active = body.flag("active")
    if active is not None:
        hook.active = active


def _shown(hook: Webhook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "active": hook.active,
        "created": serializers.moment(hook.created),
    }


def _delivery(found: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": found.id,
        "event": found.event,
        "state": found.state,
        "created": serializers.moment(found.created),
        "due": serializers.moment(found.due) if found.state == DeliveryState.PENDING else None,
        "tries": found.tries,
        "last_error": found.last_error,
        "body": json.loads(found.body),
    }
