"""The HTTP API: STDWeb's paths, fields and status codes, and what Skyrelay adds beside them."""

from __future__ import annotations

from flask import Blueprint

from gateway.api import (
    auth,
    creation,
    dead,
    duplication,
    files,
    intakes,
    preprocessing,
    presets,
    processing,
    provenance,
    queue,
    results,
    sky,
    stream,
    tasks,
    webhooks,
)

#: All of ``/api/``. A path is right with and without its final slash.
api = Blueprint("api", __name__, url_prefix="/api")
api.before_request(auth.require_user)
_PARTS = (
    *(auth, tasks, creation, duplication, processing, preprocessing, stream, files, queue),
    *(dead, results, sky, presets, webhooks, intakes, provenance),
)
for part in _PARTS:
    api.register_blueprint(part.blueprint)
