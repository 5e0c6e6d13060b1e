"""What was changed, by whom, when, and from where? An administrator reads it."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import ColumnElement, select

from gateway.api import account_schemas as schemas
from gateway.api import serializers
from gateway.api.access import require_staff
from gateway.api.body import parse_moment
from gateway.api.errors import invalid
from gateway.current import gateway
from gateway.models import LARGEST_ID, AuditEntry
from gateway.openapi import documented

blueprint = Blueprint("audit_log", __name__, url_prefix="/audit")

_USUAL, _MOST = 100, 1000


@blueprint.get("/")
@documented({200: schemas.AuditPage}, query=schemas.AuditQuery, errors=(400, 403))
def list_entries() -> ResponseReturnValue:
    """Changes, newest first, at most ``limit``; the next page has ``?before=`` the last id.

    ``user``, ``action``, ``task``, ``since`` and ``until`` choose among them.
    """
    require_staff()
    limit = min(_number("limit") or _USUAL, _MOST)
    query = select(AuditEntry).where(*_conditions()).order_by(AuditEntry.id.desc()).limit(limit + 1)
    with gateway().database.reading() as session:
        found = session.scalars(query).all()
    shown = found[:limit]
    return jsonify(
        {
            "results": [serializers.audit_entry(entry) for entry in shown],
            "next": shown[-1].id if len(found) > limit else None,
        }
    )


def _conditions() -> list[ColumnElement[bool]]:
    conditions = []
    for name, column in (("user", AuditEntry.username), ("action", AuditEntry.action)):
        text = request.args.get(name)
        if text is not None:
            if "\0" in text:
                raise invalid(**{name: "Null characters are not allowed."})
            conditions.append(column == text)
    if (task := _number("task")) is not None:
        conditions.append(AuditEntry.task_id_ref == task)
    if (before := _number("before")) is not None:
        conditions.append(AuditEntry.id < before)
    if since := request.args.get("since"):
        conditions.append(AuditEntry.timestamp >= parse_moment("since", since))
    if until := request.args.get("until"):
        conditions.append(AuditEntry.timestamp < parse_moment("until", until))
    return conditions


def _number(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 10 or int(text) > LARGEST_ID:
        raise invalid(**{name: "A valid integer is required."})
    return int(text)
