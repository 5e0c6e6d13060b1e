"""Is this process alive, and is it of use?"""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway import current
from gateway.openapi import Answer, documented, media
from skyrelay import exposition

blueprint = Blueprint("health", __name__)


class _Alive(TypedDict):
    status: Annotated[str, Field(examples=["ok"])]


class _Ready(_Alive):
    database: Annotated[bool, Field(examples=[True])]
    broker: Annotated[bool, Field(examples=[True])]


@blueprint.get("/healthz")
@documented({200: _Alive})
def alive() -> ResponseReturnValue:
    """The process answers."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
@documented({200: _Ready, 503: Answer(_Ready, "The database does not answer.")})
def ready() -> ResponseReturnValue:
    """The process can do its work. A broker that is away delays messages and refuses nobody."""
    gateway = current.gateway()
    database = gateway.database.answers()
    answer = {
        "status": "ok" if database else "the database does not answer",
        "database": database,
        "broker": gateway.outbox.connected,
    }
    return jsonify(answer), 200 if database else 503


@blueprint.get(exposition.PATH)
@documented({200: media("text/plain", example="skyrelay_http_received_bytes_total 1024.0\n")})
def metrics() -> Response:
    """The figures of all processes behind this port, as Prometheus reads them."""
    return Response(exposition.page(), content_type=exposition.CONTENT_TYPE)
