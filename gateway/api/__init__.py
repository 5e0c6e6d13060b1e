"""The HTTP API: STDWeb's paths, fields and status codes, and what Skyrelay adds beside them."""

from __future__ import annotations

from flask import Blueprint

from gateway.api import (
    auth,
    creation,
    data_files,
    dead,
    duplication,
    files,
    legacy,
    preprocessing,
    previews,
    processing,
    queue,
    reference,
    stream,
    tasks,
)

#: All of ``/api/``. A path is right with and without its final slash.
api = Blueprint("api", __name__, url_prefix="/api")
api.before_request(auth.require_user)
_PARTS = (
    *(auth, tasks, creation, duplication, processing, preprocessing, stream, files, queue),
    *(dead, data_files, reference, previews, legacy),
)
for part in _PARTS:
    api.register_blueprint(part.blueprint)
