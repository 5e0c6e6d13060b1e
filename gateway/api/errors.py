"""What does a client get that asked for something impossible?

Three forms of body, those of STDWeb: ``detail`` where the request as such is refused, ``error``
where the task does not allow it, and a list of sentences per field where a value is wrong.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from gateway.accounts.quotas import QuotaExceeded
from skyrelay.store import StoreAway
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)

#: Seconds after which a client should try again what is not to be had just now.
_SOON = 2


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.headers: dict[str, str] = {}

    @property
    def sentence(self) -> str:
        """All that is said, where it stands in a list with others."""
        return sentence_of(self.body)


def sentence_of(body: Mapping[str, Any]) -> str:
    """All that the body of such an answer says."""
    said = (each for value in body.values() for each in _as_list(value))
    return " ".join(map(str, said))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def refused(status: int, sentence: str, *, advice: str = "") -> ApiError:
    """The task does not allow this.

    ``advice``: what to do about it, where the sentence is STDWeb's and does not say so.
    """
    return ApiError(status, {"error": sentence} | ({"advice": advice} if advice else {}))


def invalid(**fields: str) -> ApiError:
    """A value is wrong: one sentence per field."""
    return ApiError(400, {name: [sentence] for name, sentence in fields.items()})


def detail(status: int, sentence: str) -> ApiError:
    """The request as such is refused."""
    return ApiError(status, {"detail": sentence})


def not_found() -> ApiError:
    """There is no such thing."""
    return detail(404, "Not found.")


def unauthenticated(sentence: str) -> ApiError:
    """Nobody knows who is asking."""
    error = detail(401, sentence)
    error.headers["WWW-Authenticate"] = "Token"
    return error


def throttled(seconds: float) -> ApiError:
    """The same was asked for too often."""
    wait = math.ceil(seconds)
    error = detail(429, f"Request was throttled. Expected available in {wait} seconds.")
    error.headers["Retry-After"] = str(wait)
    return error


def try_again(sentence: str, seconds: int = _SOON) -> ApiError:
    """It is not to be had just now, but may be after so many seconds."""
    error = detail(503, sentence)
    error.headers["Retry-After"] = str(seconds)
    return error


def install(app: Flask) -> None:
    """Make the application answer with these bodies."""
    app.register_error_handler(ApiError, _answer)
    app.register_error_handler(QuotaExceeded, _answer_quota)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(OperationalError, _answer_away)
    app.register_error_handler(InterfaceError, _answer_away)
    app.register_error_handler(StoreAway, _answer_store_away)
    app.register_error_handler(OSError, _answer_file_system)
    app.register_error_handler(Exception, _answer_unexpected)


def answer_to(error: Exception) -> Response:
    """What a request is answered that ends with this error."""
    return current_app.make_response(current_app.handle_user_exception(error))


def _answer(error: ApiError) -> Response:
    response = jsonify(error.body)
    response.status_code = error.status
    response.headers.update(error.headers)
    return response


def _answer_http(error: HTTPException) -> Response | HTTPException:
    if not request.path.startswith("/api/") or error.code is None or error.code < 400:
        return error
    sentences = {
        404: "Not found.",
        405: f'Method "{request.method}" not allowed.',
        413: "The upload is larger than this server accepts.",
    }
    response = _answer(detail(error.code, sentences.get(error.code, error.description or "")))
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _answer_quota(error: QuotaExceeded) -> Response:
    return _answer(detail(413 if error.kind == "bytes" else 429, str(error)))


def _answer_away(error: Exception) -> Response:
    _log.error("the database does not answer: %s", error)
    return _answer(try_again("The database does not answer; try again in a moment."))


def _answer_store_away(error: StoreAway) -> Response:
    _log.error("the store of the tasks is away: %s", error)
    return _answer(try_again("The files of the tasks are out of reach; try again in a moment."))


def _answer_file_system(error: OSError) -> Response:
    if not is_full(error):
        return _answer_unexpected(error)
    _log.error("no room left in %s %s: %s", request.method, request.path, error)
    return _answer(detail(507, "The server's disk is full: nothing was stored; try again later."))


def _answer_unexpected(error: Exception) -> Response:
    _log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return _answer(detail(500, "Internal error; the server's log says more."))
