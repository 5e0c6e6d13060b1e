"""Is there an end to what one request may bring beside its file?"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.gateway import Caller
from tests.support.servers import installation

_MULTIPART = "multipart/form-data; boundary=b"
#: Nobody listens there: these requests need no broker.
_NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def address(tmp_path: Path, database_url: str) -> Iterator[str]:
    """The address of a real web server."""
    with installation(tmp_path, database_url, _NO_BROKER) as made:
        yield made.web()[1]


def test_headers_are_few_and_short(address: str) -> None:
    def answer(headers: dict[str, str], path: str = "/healthz") -> requests.Response:
        return requests.get(f"{address}{path}", headers=headers, timeout=60)

    assert answer({f"X-{number}": "a" for number in range(80)}).status_code == 200
    for status, refused in (
        (431, answer({f"X-{number}": "a" for number in range(1000)})),
        (431, answer({"X-Long": "a" * 20_000})),
        (414, answer({}, "/api/tasks/?query=" + "a" * 20_000)),
        (414, answer({}, "/api/" + "a" * 20_000)),
    ):
        assert refused.status_code == status
        assert refused.headers["Content-Type"] == "application/json"
        assert list(refused.json()) == ["detail"]
    assert answer({}).status_code == 200
    long_but_right = answer({}, "/api/reference/?a=" + "a" * 8000)
    assert long_but_right.status_code == 200


@pytest.mark.parametrize(
    "request_",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nA B: c\r\n\r\n"],
    ids=["no request", "no version", "no header"],
)
def test_what_is_no_request_gets_an_error_like_all_others(address: str, request_: bytes) -> None:
    place = urlsplit(address)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as there:
        there.sendall(request_)
        answer = b""
        while more := there.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["detail"]


def _part(name: str, content: str) -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (_MULTIPART, "".join(_part(f"a{number}", "b") for number in range(2000)) + "--b--\r\n"),
        (_MULTIPART, _part("title", "a" * 4_000_000) + "--b--\r\n"),
        ("application/x-www-form-urlencoded", "title=" + "a" * 9_000_000),
    ],
    ids=["many fields", "a long field", "a long form"],
)
def test_a_form_has_few_and_short_fields(alice: Caller, kind: str, body: str) -> None:
    assert alice.post("tasks/", data=body, content_type=kind).status_code == 413
    assert alice.get("tasks/").json == []
