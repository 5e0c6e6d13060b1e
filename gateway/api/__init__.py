"""The HTTP API: STDWeb's paths, fields and status codes, and what Skyrelay adds beside them."""

from __future__ import annotations

from flask import Blueprint

from gateway.api import auth, creation, files, processing, tasks

#: All of ``/api/``. A path is right with and without its final slash.
api = Blueprint("api", __name__, url_prefix="/api")
api.before_request(auth.require_user)
for part in (auth, tasks, creation, processing, files):
    api.register_blueprint(part.blueprint)
