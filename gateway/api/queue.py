"""What does an administrator do about all that is going on?"""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.access import require_staff
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user, gateway
from gateway.openapi import documented
from gateway.orchestration.cancel import cancel_all

blueprint = Blueprint("queue", __name__, url_prefix="/queue")


class _AllCancelled(TypedDict):
    cancelled: Annotated[int, Field(description="How many runs there were.", examples=[3])]


@blueprint.post("/terminate_all/")
@documented({200: _AllCancelled}, errors=(403,))
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
