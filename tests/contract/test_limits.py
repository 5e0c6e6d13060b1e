"""Is there an end to what one request may bring beside its file?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    def status(headers: dict[str, str], path: str = "/healthz") -> int:
        return requests.get(f"{address}{path}", headers=headers, timeout=60).status_code

    assert status({f"X-{number}": "a" for number in range(80)}) == 200
    for refused in (
        status({f"X-{number}": "a" for number in range(1000)}),
        status({"X-Long": "a" * 20_000}),
        status({}, "/api/tasks/?query=" + "a" * 20_000),
    ):
        assert 400 <= refused < 500
    assert status({}) == 200


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
