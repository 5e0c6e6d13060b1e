"""Does every route of STDWeb answer with STDWeb's status code, whoever asks for whatever?

Each line: what is asked, and the status without a token, of a stranger, for a task that is not
there, and of the owner. All of it with the slash at the end and, where one may leave it out,
without.
"""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: Method, path, body, and the status for the owner. Nothing runs, and there is no image.
ROUTES: list[tuple[str, str, Any, int]] = [
    ("GET", "tasks/{id}/", None, 200),
    ("PATCH", "tasks/{id}/", {"title": "new"}, 200),
    ("PATCH", "tasks/{id}/", {"config": [1]}, 400),
    ("POST", "tasks/{id}/", {"title": "new"}, 200),
    ("DELETE", "tasks/{id}/", None, 204),
    ("GET", "tasks/{id}/state/", None, 200),
    ("POST", "tasks/{id}/duplicate/", {}, 201),
    ("POST", "tasks/{id}/process/", {"steps": ["photometry"]}, 200),
    ("POST", "tasks/{id}/process/", {"steps": ["dance"]}, 400),
    ("POST", "tasks/{id}/process/", {"steps": []}, 400),
    ("POST", "tasks/{id}/cancel/", {}, 400),
    ("POST", "tasks/{id}/fix/", {}, 404),
    ("POST", "tasks/{id}/crop/", {"x1": 1}, 404),
    ("POST", "tasks/{id}/destripe/", {"direction": "both"}, 404),
    ("GET", "tasks/{id}/files/", None, 200),
    ("GET", "tasks/{id}/files/missing.fits", None, 404),
    ("DELETE", "tasks/{id}/files/missing.fits", None, 404),
    ("GET", "tasks/{id}/preview/missing.fits", None, 404),
    ("GET", "tasks/{id}/cutout/missing.cutout", None, 404),
]


def _send(caller: Caller, method: str, path: str, body: Any, **options: Any) -> int:
    sent = {} if body is None else {"json": body}
    with caller(method, path, **sent, **options) as answer:
        return answer.status_code


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
@pytest.mark.parametrize("slash", [True, False], ids=["with-slash", "without-slash"])
def test_a_route_of_a_task(
    alice: Caller, eve: Caller, method: str, path: str, body: Any, status: int, slash: bool
) -> None:
    written = path if slash else path.rstrip("/")
    own, missing = written.format(id=alice.new_task()), written.format(id=4711)
    nobody = {"headers": {"Authorization": ""}}
    assert _send(alice, method, own, body, **nobody) == 401
    assert _send(eve, method, own, body) == 403
    assert _send(alice, method, missing, body) == 404
    assert _send(alice, method, own, body) == status


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "tasks/1/"), ("GET", "tasks/1/process/"), ("DELETE", "tasks/"), ("POST", "queue/")],
)
def test_a_method_that_a_route_does_not_have_is_405(bench: Bench, method: str, path: str) -> None:
    caller = bench.caller("alice")
    task = caller.new_task()
    answer = caller.http.open(
        f"/api/{path.replace('1', str(task))}",
        method=method,
        headers={"Authorization": f"Token {caller.token}"},
    )
    assert answer.status_code == 405
    assert answer.json == {"detail": f'Method "{method}" not allowed.'}


def test_a_file_is_taken_as_a_form_alone(alice: Caller) -> None:
    task = alice.new_task()
    path = f"tasks/{task}/files/a.fits"
    assert _send(alice, "POST", path, {"file": "x"}) == 415
    assert alice.post(path, data={"other": "x"}).status_code == 400
    assert alice.post(path, data={"file": (io.BytesIO(b"x"), "a")}).status_code == 201
    for changed in ("crop", "destripe", "fix"):
        assert _send(alice, "POST", f"tasks/{task}/{changed}/", {}) == 404
