"""The HTTP API: STDWeb's paths, fields and status codes, and what Skyrelay adds beside them."""

from __future__ import annotations

from flask import Blueprint

from gateway.api import (
    account,
    analyses,
    audit_log,
    auth,
    bulk,
    candidates,
    contents,
    creation,
    data_files,
    dead,
    disk,
    duplication,
    files,
    groups,
    intakes,
    legacy,
    login,
    masks,
    openid,
    places,
    preprocessing,
    presets,
    previews,
    processing,
    provenance,
    queue,
    reference,
    results,
    sharing,
    sky,
    sky_map,
    skyportal,
    stream,
    tasks,
    users,
    webhooks,
)

#: All of ``/api/``. A path is right with and without its final slash.
api = Blueprint("api", __name__, url_prefix="/api")
api.before_request(auth.require_user)
_PARTS = (
    *(login, openid, account, users, groups, audit_log, disk),
    *(tasks, sharing, bulk, creation, duplication, processing, preprocessing, stream, queue),
    *(files, contents, masks, dead, data_files, reference, previews, legacy, skyportal, analyses),
    *(results, candidates, places, sky, sky_map, presets, webhooks, intakes, provenance),
)
for part in _PARTS:
    api.register_blueprint(part.blueprint)
