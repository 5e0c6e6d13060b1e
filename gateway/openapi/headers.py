"""Which headers beside the usual ones do clients send and get?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.api.idempotency import HEADER, LONGEST, REPLAYED, is_once_per_key
from gateway.openapi.operation import Operation

_View = Callable[..., Any]

#: By their names: what each says, its schema, and an example.
_KNOWN: dict[str, tuple[str, dict[str, Any], Any]] = {
    HEADER: (
        "A text of the client's own: the same request under the same text is done once, and "
        "answered the same each time.",
        {"type": "string", "minLength": 1, "maxLength": LONGEST},
        "3f1c2a7e-upload-17",
    ),
    REPLAYED: (
        "`true` where the request was done before, and this is its answer.",
        {"type": "string"},
        "true",
    ),
    "Range": ("The bytes that are wanted.", {"type": "string"}, "bytes=0-2879"),
    "If-None-Match": (
        "The `ETag` of what the client has: the answer is 304 while it is the same.",
        {"type": "string"},
        '"5f2b9c1d"',
    ),
    "Last-Event-ID": (
        "The id of the last event that was received: what has changed since comes first.",
        {"type": "string"},
        "1772399645.123",
    ),
    "ETag": ("Tells this content from all others.", {"type": "string"}, '"5f2b9c1d"'),
    "Content-Range": ("Which bytes of how many.", {"type": "string"}, "bytes 0-2879/8392320"),
    "Location": ("Where it is.", {"type": "string"}, "https://s3.example.org/tasks/42/..."),
    "Retry-After": (
        "Seconds after which to try again, where they are known.",
        {"type": "string"},
        "2",
    ),
    "WWW-Authenticate": ("How to say who one is.", {"type": "string"}, "Token"),
    "X-Log": ("`live` while the step works, then `final`.", {"type": "string"}, "final"),
    "X-Total-Count": (
        "Entries on all pages, where the table itself has no place to say so.",
        {"type": "string"},
        "1234",
    ),
}
_OF_REFUSALS = {
    401: ("WWW-Authenticate",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def header_parameters(view: _View, operation: Operation) -> list[dict[str, Any]]:
    """The headers that a request may have."""
    names = [HEADER] if is_once_per_key(view) else []
    names += ["Range"] if 206 in operation.answers else []
    names += ["If-None-Match"] if 304 in operation.answers else []
    return [
        {"name": name, "in": "header", "required": False, **_described(name)}
        for name in (*names, *operation.headers)
    ]


def headers_of_answer(view: _View, operation: Operation, status: int) -> dict[str, Any]:
    """The headers that an answer of this status may have, for the document."""
    if status not in operation.answers:
        refused = list(_OF_REFUSALS.get(status, ()))
        if status == 416:
            # What is said of the range that is there is said of the one that is not.
            refused += operation.answers[206].headers
        return {name: _described(name) for name in refused}
    names = list(operation.answers[status].headers)
    if 304 in operation.answers and status in (200, 206, 304):
        names.append("ETag")
    if status == 206:
        names.append("Content-Range")
    if is_once_per_key(view):
        names.append(REPLAYED)
    return {name: _described(name) for name in names}


def _described(name: str) -> dict[str, Any]:
    description, schema, example = _KNOWN[name]
    return {"description": description, "schema": schema, "example": example}
