"""May a client that got no answer simply ask again?"""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from tests.support.gateway import Bench, Caller

_KEY = {"Idempotency-Key": "my own text"}


def _upload(caller: Caller, content: bytes = b"FITS", **fields: Any) -> Any:
    data = {"file": (io.BytesIO(content), "a.fits"), **fields}
    return caller.post("tasks/", data=data, headers=_KEY)


def test_the_same_request_under_the_same_key_is_done_once(bench: Bench, alice: Caller) -> None:
    first, second = _upload(alice), _upload(alice)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json == second.json
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(alice.get("tasks/").json) == 1


def test_another_request_under_the_same_key_is_refused(
    bench: Bench, alice: Caller, bob: Caller
) -> None:
    _upload(alice)
    assert _upload(alice, b"OTHER").status_code == 422
    assert _upload(alice, title="another").status_code == 422
    assert alice.post("tasks/", json={}, headers=_KEY).status_code == 422
    # Everybody's keys are their own.
    assert _upload(bob).status_code == 201


def test_a_request_that_was_refused_may_be_mended_under_its_key(alice: Caller) -> None:
    assert alice.post("tasks/", json={}, headers=_KEY).status_code == 400
    assert alice.post("tasks/", json={"original_name": "x"}, headers=_KEY).status_code == 201


def test_a_run_is_started_once_per_key(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    body = {"steps": ["inspect"]}
    runs = {
        alice.post(f"tasks/{task}/process/", json=body, headers=_KEY).json["celery_id"]
        for _ in range(2)
    }
    assert len(runs) == 1
    assert len(bench.commands()) == 1


def test_of_the_same_requests_at_once_one_is_done(bench: Bench, alice: Caller) -> None:
    callers = [Caller(bench.app.test_client(), alice.token) for _ in range(6)]
    start = threading.Barrier(len(callers))
    answers: list[Any] = []

    def ask(caller: Caller) -> None:
        start.wait()
        answers.append(_upload(caller))

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(alice.get("tasks/").json) == 1


def test_a_task_may_begin_with_its_first_run(bench: Bench, alice: Caller) -> None:
    body = {"original_name": "x", "steps": ["inspect", "photometry"], "priority": 3}
    answer = alice.post("tasks/", json=body)
    assert answer.status_code == 201
    assert (answer.json["state"], answer.json["steps"]) == ("running", body["steps"])
    command = bench.command()
    assert (command.task, str(command.run)) == (answer.json["id"], answer.json["celery_id"])
    (run,) = alice.get(f"tasks/{answer.json['id']}/runs/").json
    assert run["priority"] == 3


@pytest.mark.parametrize("fields", [{"steps": ["dance"]}, {"steps": ["inspect"], "priority": 99}])
def test_a_first_run_that_makes_no_sense_makes_no_task(alice: Caller, fields: Any) -> None:
    assert alice.post("tasks/", json={"original_name": "x", **fields}).status_code == 400
    assert alice.get("tasks/").json == []
