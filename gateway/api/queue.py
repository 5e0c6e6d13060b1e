"""What does an administrator do about all that is going on?"""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from gateway.api.access import require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user, gateway
from gateway.orchestration.cancel import cancel_all

blueprint = Blueprint("queue", __name__, url_prefix="/queue")


@blueprint.post("/terminate_all/")
def terminate_all() -> ResponseReturnValue:
    """Cancel every run that there is now."""
    require_staff()
    count = cancel_all(gateway(), reason=f"stopped by {current_user().username}")
    with gateway().database.writing() as session:
        remember_request(
            session,
            "processing_cancel_all",
            runs=count,
        )
    return jsonify({"cancelled": count})
