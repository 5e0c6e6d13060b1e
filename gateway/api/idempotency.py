"""How may a client that got no answer ask again without doing it twice?

It sends a header ``Idempotency-Key`` with a text of its own. What was done under a key is
remembered in the transaction that did it; the same request under the same key gets the same
answer, and another request under it is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gateway.api.auth import current_user, gateway
from gateway.api.body import read_body
from gateway.api.errors import detail
from gateway.models import AnsweredRequest

_HEADER = "Idempotency-Key"
_LONGEST = 200
_CHUNK = 1024 * 1024
_KEY = "_idempotency"

_View = TypeVar("_View", bound=Callable[..., ResponseReturnValue])


def once_per_key(view: _View) -> _View:
    """A view that does the same request under the same key once; it calls `remember_answer`."""

    @wraps(view)
    def once(*args: Any, **values: Any) -> ResponseReturnValue:
        key = request.headers.get(_HEADER)
        if key is None:
            return view(*args, **values)
        if not 0 < len(key) <= _LONGEST or not key.isprintable():
            raise detail(400, f"{_HEADER}: take 1 to {_LONGEST} printable characters.")
        fingerprint = _fingerprint()
        if (answer := _answered(key, fingerprint)) is not None:
            return answer
        setattr(g, _KEY, (key, fingerprint))
        try:
            return view(*args, **values)
        except IntegrityError:
            # The same request came twice at once, and the other one was faster.
            if (answer := _answered(key, fingerprint)) is not None:
                return answer
            raise

    return cast(_View, once)


def remember_answer(session: Session, status: int, body: dict[str, Any]) -> None:
    """Keep the answer to the present request, if it has a key, in the transaction it is about."""
    found: tuple[str, str] | None = getattr(g, _KEY, None)
    if found is None:
        return
    key, fingerprint = found
    session.add(
        AnsweredRequest(
            user_id=current_user().id,
            key=key,
            fingerprint=fingerprint,
            status=status,
            body=json.dumps(body),
        )
    )
    session.flush()


def _answered(key: str, fingerprint: str) -> Response | None:
    with gateway().database.reading() as session:
        found = session.get(AnsweredRequest, (current_user().id, key))
    if found is None:
        return None
    if found.fingerprint != fingerprint:
        raise detail(422, f"Another request was sent under this {_HEADER} before.")
    response = jsonify(json.loads(found.body))
    response.status_code = found.status
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _fingerprint() -> str:
    """Tells one request from another: its address, its fields, and the content of its files."""
    body = read_body()
    digest = hashlib.sha256(f"{request.method} {request.path}\n".encode())
    digest.update(json.dumps(body.fields, sort_keys=True).encode())
    for name, file in request.files.items(multi=True):
        digest.update(f"\n{name} {file.filename}\n".encode())
        while chunk := file.stream.read(_CHUNK):
            digest.update(chunk)
        file.stream.seek(0)
    return digest.hexdigest()
