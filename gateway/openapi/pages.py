"""Where is the description of the API to be had, by programs and by people?"""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Flask, current_app, jsonify
from flask.typing import ResponseReturnValue
from flask_swagger_ui import get_swaggerui_blueprint
from pydantic import Field

from gateway.api.auth import open_to_all
from gateway.openapi.document import openapi_document
from gateway.openapi.operation import Answer, documented

blueprint = Blueprint("openapi", __name__)

_DOCUMENT = "skyrelay.openapi"
_DOCUMENT_AT, _PAGE_AT = "/api/openapi.json", "/api/docs"
#: No request leaves for anywhere else: Swagger UI would have a server of its own look at ours.
_PAGE = {"app_name": "Skyrelay API", "validatorUrl": None, "tryItOutEnabled": True}
_Document = Annotated[dict[str, Any], Field(examples=[{"openapi": "3.1.0"}])]
#: The name of the pages' blueprint.
PAGES = "api_docs"


def install(app: Flask) -> None:
    """Add the document and its interactive page."""
    app.register_blueprint(blueprint)
    pages = get_swaggerui_blueprint(_PAGE_AT, _DOCUMENT_AT, config=_PAGE, blueprint_name=PAGES)
    app.register_blueprint(pages)


def document(app: Flask) -> dict[str, Any]:
    """The description of the application, made when it is first asked for."""
    found: dict[str, Any] | None = app.extensions.get(_DOCUMENT)
    if found is None:
        found = app.extensions[_DOCUMENT] = openapi_document(app)
    return found


@blueprint.get(_DOCUMENT_AT)
@open_to_all
@documented({200: Answer(_Document, "OpenAPI 3.1.")})
def read_document() -> ResponseReturnValue:
    """This description."""
    return jsonify(document(current_app))
