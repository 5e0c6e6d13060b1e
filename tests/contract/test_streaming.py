"""Do large files pass through the web server without being in its memory?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
import requests

from tests.support.processes import children_of
from tests.support.servers import Server, installation

#: Nobody listens there: files need no broker.
_NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"
_MIB = 1024 * 1024
#: What is sent, what the process may take for it, and by how much it may grow beyond its imports.
_SENT, _MOST, _GROWTH = 256 * _MIB, 100_000_000, 16 * _MIB
#: Of a file that is nearly all hole.
_SPARSE = 64 * 1024 * _MIB
_BLOCK = bytes(range(256)) * 4096

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[tuple[Server, str, dict[str, str]]]:
    """A web server of one process, its address, and the headers of a user's requests."""
    (tmp_path / "data").mkdir()
    with installation(tmp_path, database_url, _NO_BROKER) as made:
        key = made.user("alice")
        server, address = made.web()
        yield server, f"{address}/api", {"Authorization": f"Token {key}"}


def _largest(server: Server) -> int:
    """The most memory that the web process has had so far, in bytes."""
    (worker,) = children_of(server.pid)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


class _Form:
    """A form with a large file in it, made while it is sent."""

    _head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    _tail = b"\r\n--b--\r\n"

    def __len__(self) -> int:
        return len(self._head) + _SENT + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from repeat(_BLOCK, _SENT // len(_BLOCK))
        yield self._tail


def test_a_large_file_comes_and_goes_in_little_memory(
    served: tuple[Server, str, dict[str, str]],
) -> None:
    server, api, headers = served
    small = {"file": ("small.fits", b"small")}
    assert requests.post(f"{api}/tasks/", headers=headers, files=small, timeout=60).ok
    before = _largest(server)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    made = requests.post(f"{api}/tasks/", headers=headers | kind, data=_Form(), timeout=120)
    assert made.status_code == 201, made.text
    path = f"{api}/tasks/{made.json()['id']}/files/image.fits"
    received = 0
    with requests.get(path, headers=headers, stream=True, timeout=120) as answer:
        for block in answer.iter_content(_MIB):
            assert block == _BLOCK[: len(block)]
            received += len(block)
    assert received == _SENT
    assert _largest(server) - before < _GROWTH
    assert _largest(server) < _MOST


def test_a_part_of_a_very_large_file_is_read_where_it_is(
    tmp_path: Path, served: tuple[Server, str, dict[str, str]]
) -> None:
    server, api, headers = served
    with (tmp_path / "data" / "night.fits").open("wb") as file:
        file.truncate(_SPARSE)
        file.seek(_SPARSE - 4)
        file.write(b"tail")
    before = _largest(server)
    for asked in ("bytes=-4", f"bytes={_SPARSE - 4}-"):
        with requests.get(
            f"{api}/files/night.fits", headers=headers | {"Range": asked}, timeout=60
        ) as part:
            assert (part.status_code, part.content) == (206, b"tail")
            assert part.headers["Content-Range"] == f"bytes {_SPARSE - 4}-{_SPARSE - 1}/{_SPARSE}"
    assert _largest(server) - before < _GROWTH
    # A range of another version than the one that is there is answered with the whole file.
    (tmp_path / "data" / "small.fits").write_bytes(b"all of it")
    other = {"Range": "bytes=-4", "If-Range": '"another"'}
    whole = requests.get(f"{api}/files/small.fits", headers=headers | other, timeout=60)
    assert (whole.status_code, whole.content) == (200, b"all of it")
