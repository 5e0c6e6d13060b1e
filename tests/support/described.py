"""Is an answer of the API one of those that its description allows?"""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from gateway.openapi.pages import PAGES, document
from gateway.openapi.parameters import path_of

#: Headers of answers that a client may go by.
_HEADERS = {
    *("ETag", "Content-Range", "Location", "Retry-After", "WWW-Authenticate"),
    *("Idempotency-Replayed", "X-Log", "X-Total-Count"),
}


def check_described(app: Flask, answer: TestResponse) -> None:
    """Fail for an answer that the description of the API does not have."""
    request = answer.request
    operation = _operation(app, request.path, request.method)
    # An internal error is a defect, which no description allows; a test may provoke one.
    if operation is None or answer.status_code == 500:
        return
    said = f"{request.method} {request.path}: {answer.status_code}"
    response = operation["responses"].get(str(answer.status_code))
    assert response is not None, f"{said} is not described"
    unknown = _HEADERS & {name for name, _ in answer.headers} - response.get("headers", {}).keys()
    assert not unknown, f"{said} has headers that are not described: {unknown}"
    content = response.get("content", {})
    if request.method == "HEAD":
        return
    kinds = {answer.mimetype, "*/*"} & content.keys() if content else {""}
    assert kinds, f"{said} is described as {list(content)}, and came as {answer.mimetype}"
    if answer.mimetype == "application/json" and "application/json" in content:
        schema = content["application/json"]["schema"]
        _validator(schema, _description(app)["components"]).validate(answer.json)


#: By the routes: every test makes an application, and to describe one takes longer than a test.
_DESCRIPTIONS: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
#: Under this name an application has its own: to list the routes for each answer takes time, too.
_DESCRIBED = "tests.described"


#: By their text, and the description that they are from: many answers are described alike.
_VALIDATORS: dict[tuple[str, int], Any] = {}


def _validator(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    key = (json.dumps(schema), id(components))
    if key not in _VALIDATORS:
        made = jsonschema_rs.validator_for(schema | {"components": components})
        _VALIDATORS[key] = made
    return _VALIDATORS[key]


def _operation(app: Flask, path: str, method: str) -> dict[str, Any] | None:
    """What is said of the route that a request has reached; None if it has reached none."""
    try:
        rule, _ = app.url_map.bind("").match(path, method, return_rule=True)
    except HTTPException:
        return None
    if rule.endpoint.startswith(PAGES):
        return None
    method = "GET" if method == "HEAD" else method
    found: dict[str, Any] = _description(app)["paths"][path_of(rule)].get(method.lower())
    return found


def _description(app: Flask) -> dict[str, Any]:
    """The description of an application; made once for all that have the same routes."""
    if _DESCRIBED not in app.extensions:
        routes = tuple((rule.endpoint, rule.rule) for rule in app.url_map.iter_rules())
        if routes not in _DESCRIPTIONS:
            _DESCRIPTIONS[routes] = document(app)
        app.extensions[_DESCRIBED] = _DESCRIPTIONS[routes]
    found: dict[str, Any] = app.extensions[_DESCRIBED]
    return found
