"""What is the whole of the API, as an OpenAPI 3.1 document?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Literal

from flask import Flask
from pydantic import TypeAdapter
from werkzeug.routing import Rule

from gateway.api.auth import is_called_by_services, is_open_to_all
from gateway.openapi.examples import example_of
from gateway.openapi.headers import header_parameters, headers_of_answer
from gateway.openapi.operation import JSON, Answer, Operation, operation_of
from gateway.openapi.parameters import path_of, path_parameters
from gateway.request_limits import HEADER_SIZE, HEADERS, REQUEST_LINE
from skyrelay import __version__

_View = Callable[..., Any]
_Mode = Literal["validation", "serialization"]
_REFERENCE = "#/components/schemas/{model}"
#: Methods that Flask adds by itself.
_IMPLIED = frozenset({"HEAD", "OPTIONS"})
_DESCRIPTION = """\
Images become tasks, tasks are processed stage by stage. Paths, fields and status codes are those
of STDWeb; a path is right with and without its final slash.

Get a token at `/api/auth/token/` and send it with each request as `Authorization: Token <key>`.
"""
_REFUSALS = {
    400: ("A value is wrong: the sentence says which.", {"sn": ["A valid number is required."]}),
    401: ("Nobody knows who is asking.", {"detail": "Invalid token."}),
    403: ("It is somebody else's.", {"error": "Permission denied"}),
    404: ("There is no such thing.", {"detail": "Not found."}),
    406: (
        "In no form that the client accepts.",
        {"detail": "Nothing that is accepted can be sent."},
    ),
    409: ("Not while the task is processed.", {"error": "Task is already processing"}),
    413: ("The body is too large.", {"detail": "The upload is larger than this server accepts."}),
    414: (
        f"Method and address have more than {REQUEST_LINE} bytes.",
        {"detail": "The address is too long."},
    ),
    415: ("Not in this media type.", {"detail": 'Unsupported media type "text/xml" in request.'}),
    416: ("The file has no such range.", {"detail": "The requested range cannot be satisfied."}),
    422: (
        "The key was used before.",
        {"detail": "Another request was sent under this key before."},
    ),
    429: ("Too many requests.", {"detail": "Request was throttled."}),
    431: (
        f"More than {HEADERS} headers, or one of more than {HEADER_SIZE} bytes.",
        {"detail": "The headers are too long."},
    ),
    502: ("Another server did not do its part.", {"error": "The other server does not answer."}),
    503: ("Just now it cannot be done.", {"detail": "The database does not answer."}),
    507: ("The disk is full.", {"detail": "The server's disk is full."}),
}
_REFUSAL = {
    "title": "Refusal",
    "description": "`detail` where the request as such is refused, `error` where the task does "
    "not allow it, a list of sentences per field where a value is wrong.",
    "type": "object",
    "additionalProperties": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    },
    "minProperties": 1,
}


def openapi_document(app: Flask) -> dict[str, Any]:
    """The description of all documented routes of the application.

    Raises
    ------
    NoExample
        If a field of a body or an answer has no example.
    """
    described = [(rule, view, operation) for rule, view, operation in _operations(app)]
    schemas, components = _schemas([operation for _, _, operation in described])
    paths: dict[str, dict[str, Any]] = {}
    for rule, view, operation in described:
        entry = _Entry(rule, view, operation, schemas, components).described()
        for method in sorted(methods_of(rule)):
            name = f"{rule.endpoint}.{method}" if len(methods_of(rule)) > 1 else rule.endpoint
            path = paths.setdefault(path_of(rule), {})
            path[method.lower()] = {"operationId": name} | entry
    return {
        "openapi": "3.1.0",
        "info": {"title": "Skyrelay", "version": __version__, "description": _DESCRIPTION},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token <key>`",
                },
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "A user name, and the key of a token as password",
                },
            },
        },
        "security": [{"token": []}],
    }


def methods_of(rule: Rule) -> frozenset[str]:
    """The methods that a route was made for."""
    return frozenset(rule.methods or ()) - _IMPLIED


def _operations(app: Flask) -> Iterator[tuple[Rule, _View, Operation]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        operation = operation_of(view)
        if operation is not None:
            yield rule, view, operation


def _schemas(
    operations: list[Operation],
) -> tuple[dict[tuple[Any, _Mode], dict[str, Any]], dict[str, Any]]:
    """The schema of each type, as it is taken or given, and the types that these refer to."""
    wanted: set[tuple[Any, _Mode]] = set()
    for operation in operations:
        given = [answer.type for answer in operation.answers.values()]
        wanted |= {(each, "serialization") for each in given if each is not None}
        taken = (operation.query, operation.body)
        wanted |= {(each, "validation") for each in taken if each is not None}
    inputs = [((each, mode), mode, TypeAdapter(each)) for each, mode in sorted(wanted, key=repr)]
    found, extra = TypeAdapter.json_schemas(
        [(str(index), mode, adapter) for index, (_, mode, adapter) in enumerate(inputs)],
        ref_template=_REFERENCE,
    )
    schemas = {key: found[(str(index), mode)] for index, (key, mode, _) in enumerate(inputs)}
    return schemas, {**extra.get("$defs", {}), "Refusal": _REFUSAL}


class _Entry:
    """The entry of one route in the document."""

    def __init__(
        self,
        rule: Rule,
        view: _View,
        operation: Operation,
        schemas: dict[tuple[Any, _Mode], dict[str, Any]],
        components: dict[str, Any],
    ) -> None:
        self._rule = rule
        self._view = view
        self._operation = operation
        self._schemas = schemas
        self._components = components

    def described(self) -> dict[str, Any]:
        summary, _, rest = inspect.cleandoc(self._view.__doc__ or "").partition("\n")
        entry: dict[str, Any] = {
            "summary": summary,
            "description": rest.strip(),
            "tags": [self._rule.endpoint.split(".")[-2] if "." in self._rule.endpoint else ""],
            "parameters": [
                *path_parameters(self._rule),
                *self._query(),
                *header_parameters(self._view, self._operation),
            ],
            "responses": self._responses(),
        }
        if self._operation.body is not None:
            entry["requestBody"] = self._body()
        if self._is_open:
            entry["security"] = []
        elif is_called_by_services(self._view):
            entry["security"] = [{"token": []}, {"basic": []}]
        return entry

    @property
    def _is_open(self) -> bool:
        return is_open_to_all(self._view) or not self._rule.rule.startswith("/api/")

    def _query(self) -> list[dict[str, Any]]:
        if self._operation.query is None:
            return []
        schema = self._resolved(self._schemas[self._operation.query, "validation"])
        return [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": field.get("description", ""),
                "schema": field,
                "example": example_of(field, self._components),
            }
            for name, field in schema["properties"].items()
        ]

    def _body(self) -> dict[str, Any]:
        schema = self._schemas[self._operation.body, "validation"]
        resolved = self._resolved(schema)
        content = {"schema": schema, "example": example_of(schema, self._components)}
        return {
            "required": bool(resolved.get("required")),
            "content": {kind: content for kind in self._operation.kinds},
        }

    def _responses(self) -> dict[str, Any]:
        responses = {
            str(status): self._response(status, answer)
            for status, answer in sorted(self._operation.answers.items())
        }
        for status in sorted(self._errors()):
            description, example = _REFUSALS[status]
            schema = {"$ref": _REFERENCE.format(model="Refusal")}
            responses[str(status)] = {
                "description": description,
                "content": {JSON: {"schema": schema, "example": example}},
            }
        for code, response in responses.items():
            if headers := headers_of_answer(self._view, self._operation, int(code)):
                response["headers"] = headers
        return responses

    def _errors(self) -> set[int]:
        """The refusals of the view, and those that go without saying."""
        errors = set(self._operation.errors)
        if self._rule.rule.startswith("/api/"):
            errors |= {414, 431, 503}
        changes = not (self._rule.methods or set()) <= {"GET", "HEAD", "OPTIONS"}
        if not self._is_open:
            errors.add(401)
            if changes:
                errors.add(403)  # A browser without the token of its session.
        if self._rule.arguments:
            errors.add(404)
        if "task_id" in self._rule.arguments:
            errors.add(403)
            if changes:
                errors.add(507)  # Even what is removed, or cancelled, is written down in the store.
        if self._operation.body is not None:
            errors |= {400, 413, 415}
        return errors - self._operation.answers.keys()

    def _response(self, status: int, answer: Answer) -> dict[str, Any]:
        response: dict[str, Any] = {"description": answer.description or HTTPStatus(status).phrase}
        if answer.type is not None:
            schema = self._schemas[answer.type, "serialization"]
            example = example_of(schema, self._components)
            other: dict[str, Any] = {"schema": {}, "example": answer.example or "..."}
            response["content"] = {kind: other for kind in answer.media_types}
            response["content"][JSON] = {"schema": schema, "example": example}
        elif answer.media_types:
            content: dict[str, Any] = {"schema": {}, "example": answer.example or "..."}
            response["content"] = {kind: content for kind in answer.media_types}
        return response

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = schema
        while "$ref" in found:
            found = self._components[found["$ref"].rpartition("/")[2]]
        return found
