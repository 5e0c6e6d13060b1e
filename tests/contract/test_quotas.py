"""How much may a user have, and what is said to one who wants more?"""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.models import Task
from tests.support.gateway import Bench, Caller


def upload(size: int, name: str = "a.fits") -> dict[str, Any]:
    return {"file": (io.BytesIO(b"x" * size), name)}


def test_of_two_last_tasks_at_once_only_one_is_made(bench: Bench) -> None:
    carol = bench.caller("carol", quota_tasks=3)
    start = threading.Barrier(6)

    def make(_: int) -> int:
        start.wait()
        caller = Caller(bench.app.test_client(), carol.token)
        return caller.post("tasks/", json={"original_name": "a.fits"}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == [201] * 3 + [429] * 3
    refused = carol.post("tasks/", json={"original_name": "a.fits"})
    assert "quota of tasks is used up: 3 of 3" in refused.json["detail"]
    task = carol.get("tasks/").json[0]["id"]
    assert carol.post(f"tasks/{task}/duplicate/").status_code == 429
    carol("DELETE", f"tasks/{task}/")
    assert carol.post("tasks/", json={"original_name": "a.fits"}).status_code == 201


def test_bytes_count_whatever_way_they_came(bench: Bench) -> None:
    carol = bench.caller("carol", quota_bytes=10_000)
    made = carol.post("tasks/", data=upload(4000))
    task = made.json["id"]
    assert carol.post("tasks/", data=upload(7000)).status_code == 413
    assert len(carol.get("tasks/").json) == 1
    file = f"tasks/{task}/files/custom_template.fits"
    assert carol.post(file, data=upload(5000)).status_code == 201
    refused = carol.post(f"tasks/{task}/files/b.fits", data=upload(1001))
    assert refused.status_code == 413
    assert "9000 of 10000" in refused.json["detail"]
    assert carol.post(f"tasks/{task}/duplicate/").status_code == 413
    # A stage's products, too.
    assert carol.process(task, "inspect").status_code == 200
    bench.hear(bench.finished(bench.command(), product="x" * 100))
    used = carol.get("user/").json
    assert used["used"]["bytes"] > 9100
    assert used["quota"] == {"tasks": 0, "bytes": 10_000, "runs": 0}
    assert carol("DELETE", file).status_code == 204
    assert carol.post(f"tasks/{task}/files/b.fits", data=upload(1001)).status_code == 201


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a"}], ids=["no key", "a key"])
@pytest.mark.parametrize("path", ["tasks/", "tasks/upload/"])
@pytest.mark.parametrize("quota", ["quota_bytes", "quota_tasks"])
def test_a_large_upload_is_refused_before_it_is_read(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    path: str,
    quota: str,
) -> None:
    carol = bench.caller("carol", **{quota: 1})
    if quota == "quota_tasks":
        carol.new_task()
    monkeypatch.setattr(type(bench.store), "incoming", lambda _: pytest.fail("it was stored"))
    body = _Unread(b"x" * 200_000)
    kind = "multipart/form-data; boundary=b"
    refused = carol.post(path, input_stream=body, content_type=kind, headers=headers)
    assert refused.status_code == (413 if quota == "quota_bytes" else 429)
    assert not body.read_at_all


class _Unread(io.BytesIO):
    """A body that remembers whether anything of it was read."""

    read_at_all = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.read_at_all = True
        return super().read(size)


def test_an_answer_is_given_again_when_the_quota_is_used_up(bench: Bench) -> None:
    carol = bench.caller("carol", quota_tasks=1)
    key = {"Idempotency-Key": "a"}
    answers = [carol.post("tasks/", data=upload(10), headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json


def test_where_no_file_is_taken_none_is_stored(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = alice.new_task()
    monkeypatch.setattr(type(bench.store), "incoming", lambda _: pytest.fail("it was stored"))
    for path in (f"tasks/{task}/process/", f"tasks/{task}/action/", "batches/"):
        for headers in ({}, {"Idempotency-Key": "a"}):
            assert alice.post(path, data=upload(1000), headers=headers).status_code == 400


def test_measuring_a_task_is_no_change_of_it(bench: Bench) -> None:
    carol = bench.caller("carol", quota_bytes=10_000)
    carol.post("tasks/", data=upload(4000))
    before = carol.get("tasks/").json
    for _ in range(2):
        assert carol.get("user/").json["used"] == {"tasks": 1, "bytes": 4000, "runs": 0}
    assert carol.get("tasks/").json == before
    with bench.gateway.database.reading() as session:
        assert session.query(Task).one().size == 4000


def test_a_user_has_so_many_runs_at_once(bench: Bench) -> None:
    carol = bench.caller("carol", quota_runs=2)
    tasks = [carol.new_task() for _ in range(3)]
    body = {"steps": ["inspect"]}
    answers = [carol.post(f"tasks/{task}/process/", json=body).status_code for task in tasks]
    assert answers == [200, 200, 429]
    assert carol.post(f"tasks/{tasks[0]}/cancel/").status_code == 200
    assert carol.post(f"tasks/{tasks[2]}/process/", json=body).status_code == 200


def test_the_settings_give_a_quota_to_whoever_has_none(bench: Bench) -> None:
    settings = bench.gateway.settings.model_copy(update={"skyrelay_quota_tasks": 1})
    object.__setattr__(bench.gateway, "settings", settings)
    dora, free = bench.caller("dora"), bench.caller("free", quota_tasks=0)
    body = {"original_name": "a.fits"}
    assert [dora.post("tasks/", json=body).status_code for _ in range(2)] == [201, 429]
    assert [free.post("tasks/", json=body).status_code for _ in range(2)] == [201, 201]
