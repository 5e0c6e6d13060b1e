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

from gateway.api.auth import current_user
from gateway.api.body import read_body
from gateway.api.errors import detail
from gateway.current import gateway
from gateway.models import AnsweredRequest

HEADER, LONGEST = "Idempotency-Key", 200
#: In an answer that was given before.
REPLAYED = "Idempotency-Replayed"
_CHUNK = 1024 * 1024
_KEY, _ONCE = "_idempotency", "_once_per_key"

_View = TypeVar("_View", bound=Callable[..., ResponseReturnValue])


def once_per_key(
    *, before_reading: Callable[[], None] | None = None, files_too: bool = False
) -> Callable[[_View], _View]:
    """For a view that does the same request under the same key once; it calls `remember_answer`.

    Parameters
    ----------
    before_reading : callable, optional
        What is asked of a request that is not known yet before its body is read; it raises what
        refuses it.
    files_too : bool
        Whether the view takes files.
    """

    def decorate(view: _View) -> _View:
        @wraps(view)
        def once(*args: Any, **values: Any) -> ResponseReturnValue:
            key = request.headers.get(HEADER)
            if key is not None and (not 0 < len(key) <= LONGEST or not key.isprintable()):
                raise detail(400, f"{HEADER}: take 1 to {LONGEST} printable characters.")
            if before_reading is not None and (key is None or not _is_known(key)):
                before_reading()
            if key is None:
                return view(*args, **values)
            fingerprint = _fingerprint(files_too)
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

        setattr(once, _ONCE, True)
        return cast(_View, once)

    return decorate


def is_once_per_key(view: Callable[..., Any]) -> bool:
    """Whether the view does the same request under the same key once."""
    return getattr(view, _ONCE, False)


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
        raise detail(422, f"Another request was sent under this {HEADER} before.")
    response = jsonify(json.loads(found.body))
    response.status_code = found.status
    response.headers[REPLAYED] = "true"
    return response


def _is_known(key: str) -> bool:
    with gateway().database.reading() as session:
        return session.get(AnsweredRequest, (current_user().id, key)) is not None


def _fingerprint(files_too: bool) -> str:
    """Tells one request from another: its address, its fields, and the content of its files."""
    body = read_body(files_too=files_too)
    digest = hashlib.sha256(f"{request.method} {request.path}\n".encode())
    digest.update(json.dumps(body.fields, sort_keys=True).encode())
    for name, file in request.files.items(multi=True):
        digest.update(f"\n{name} {file.filename}\n".encode())
        while chunk := file.stream.read(_CHUNK):
            digest.update(chunk)
        file.stream.seek(0)
    return digest.hexdigest()
