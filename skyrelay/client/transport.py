"""How does a request reach the server, and its answer the program?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from uuid import uuid4

import requests

from skyrelay.client.errors import (
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    RequestRefused,
    ServerAway,
    sentence_of,
)

#: Seconds to connect, and seconds of silence before an answer is given up.
_TIMEOUT = (10.0, 120.0)
#: Bytes of a file that are in memory at once.
CHUNK = 1024 * 1024


class Transport:
    """A session with a server, with the token of a user."""

    def __init__(self, base_url: str, token: str = "") -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self._session = requests.Session()
        # Only our own token is to be sent, whatever a .netrc says.
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _upload(
        self,
        path: str,
        file: Path,
        fields: Mapping[str, Any],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        with file.open("rb") as source:
            form = _Form(fields, file.name, source)
            kind = {"Content-Type": form.content_type}
            return self._request("POST", path, data=form, headers={**headers, **kind}).json()

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._request(method, path, **options).json()

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        with self._response(method, path, **options) as response, translated():
            _ = response.content
            return response

    def _response(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = options.pop("headers", {})
        if self.token:
            headers["Authorization"] = f"Token {self.token}"
        with translated():
            response = self._session.request(
                method, f"{self.base_url}/api/{path}", headers=headers, timeout=_TIMEOUT, **options
            )
        if response.ok:
            return response
        with response, translated():
            _raise_refusal(response)
        return response


class _Form:
    """A multipart form with one file, streamed: requests would read the file into memory."""

    def __init__(self, fields: Mapping[str, Any], name: str, source: Any) -> None:
        boundary = uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{item}\r\n'
            for key, value in fields.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        plain = name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._source = source
        self._size = os.fstat(source.fileno()).st_size

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        while chunk := self._source.read(CHUNK):
            yield chunk
        yield self._tail


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the library become ours in here."""
    try:
        yield
    except requests.ConnectionError as error:
        raise ServerAway("The server does not answer: is it running at this address?") from error
    except requests.Timeout as error:
        raise ServerAway("The server took too long to answer.") from error
    except requests.RequestException as error:
        raise ServerAway(f"The server's answer was broken off: {error}") from error


def _raise_refusal(response: requests.Response) -> None:
    try:
        body = response.json()
    except ValueError:
        body = response.text[:500]
    status = response.status_code
    if status in (502, 503, 504):
        raise ServerAway(sentence_of(status, body))
    kinds = {401: NotAuthenticated, 403: Forbidden, 404: NotFound, 409: Conflict}
    raise kinds.get(status, RequestRefused)(status, body, response.headers)
