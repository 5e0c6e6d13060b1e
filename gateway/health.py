"""Is this process alive, and is it of use?"""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify
from flask.typing import ResponseReturnValue

from gateway.core import Gateway
from skyrelay import exposition

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> ResponseReturnValue:
    """The process answers."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    """The process can do its work. A broker that is away delays messages and refuses nobody."""
    gateway: Gateway = current_app.extensions["skyrelay"]
    database = gateway.database.answers()
    answer = {
        "status": "ok" if database else "the database does not answer",
        "database": database,
        "broker": gateway.outbox.connected,
    }
    return jsonify(answer), 200 if database else 503


@blueprint.get(exposition.PATH)
def metrics() -> Response:
    """The figures of all processes behind this port, as Prometheus reads them."""
    return Response(exposition.page(), content_type=exposition.CONTENT_TYPE)
