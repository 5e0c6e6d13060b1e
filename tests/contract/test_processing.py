"""How does a run begin, and how is it ended by who has begun it?"""

from __future__ import annotations

from typing import Any

import pytest

from skyrelay.messages import RunStage
from tests.support.gateway import Bench, Caller, runs_on_disk


def test_process_starts_a_run_and_names_it(bench: Bench, alice: Caller) -> None:
    task = alice.new_task(config={"sn": 3, "minarea": 4})
    answer = alice.process(task, "inspect", "photometry", sn="5", note="x")
    assert answer.status_code == 200
    run = answer.json.pop("celery_id")
    assert answer.json | {"celery_id": None} == {
        "id": task,
        "state": "running",
        "celery_id": None,
        "steps": ["inspect", "photometry"],
        "warnings": ["note: no stage reads this parameter"],
    }
    config = {"sn": 5.0, "minarea": 4, "note": "x"}
    full = alice.get(f"tasks/{task}/").json
    assert (full["state"], full["celery_id"], full["config"]) == ("running", run, config)
    command = bench.command()
    assert (command.step, command.index, str(command.run)) == ("inspect", 0, run)
    assert bench.store.read_config(command.config) == config


def test_a_form_may_name_several_steps(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    form = {"steps": ["inspect", "photometry"], "config": '{"sn": 2}'}
    assert alice.post(f"tasks/{task}/process/", data=form).json["steps"] == form["steps"]
    assert alice.get(f"tasks/{task}/").json["config"] == {"sn": 2.0}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "No steps provided"),
        ({"steps": []}, "No steps provided"),
        ({"steps": ["dance"]}, "Invalid step: dance"),
        ({"steps": ["inspect", 3]}, "Invalid step: 3"),
        ({"steps": ["inspect", ["inspect"]]}, "Invalid step: ['inspect']"),
        ({"steps": ["inspect"], "config": "{'a': 1}"}, "Cannot parse config as JSON"),
        ({"steps": ["inspect"], "config": [1]}, "config must be a JSON object"),
        ({"steps": ["inspect"], "config": {"sn": "x"}}, None),
        ({"steps": ["inspect"] * 101}, None),
    ],
)
def test_a_request_that_makes_no_sense_starts_nothing(
    bench: Bench, alice: Caller, body: dict[str, Any], error: str | None
) -> None:
    task = alice.new_task()
    answer = alice.post(f"tasks/{task}/process/", json=body)
    assert answer.status_code == 400
    assert answer.json.keys() - {"advice"} == {"error"}
    if error is not None:
        assert answer.json["error"] == error
    assert alice.state(task)["celery_id"] is None
    assert bench.outbox() == []
    assert runs_on_disk(bench.gateway) == set()


def test_a_task_has_one_open_run(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task)
    again = alice.process(task)
    assert (again.status_code, again.json) == (409, {"error": "Task is already processing"})
    assert len(bench.outbox()) == 1
    assert len(runs_on_disk(bench.gateway)) == 1


def test_nothing_of_a_start_that_fails_remains_to_be_run(bench: Bench, alice: Caller) -> None:
    """The transaction is one: without its run's folder there is no run, and no message."""
    task = alice.new_task()
    runs = bench.store.root / ".runs"
    runs.rmdir()
    assert alice.process(task).status_code == 503
    runs.mkdir()
    assert alice.state(task) == {"id": task, "state": "initial", "celery_id": None}
    assert bench.outbox() == []
    assert alice.process(task).status_code == 200
    assert isinstance(bench.command(), RunStage)


def test_a_cancelled_run_is_over_for_good(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    bench.hear(bench.finished(bench.command()))
    second = bench.command()
    bench.hear(bench.started(second))
    late = bench.finished(second)
    answer = alice.post(f"tasks/{task}/cancel/")
    assert (answer.status_code, answer.json) == (
        200,
        {"id": task, "state": "cancelled", "revoked_count": 3},
    )
    assert str(bench.kill().run) == run
    assert bench.store.attempt(second).run_is_over()
    bench.hear(bench.started(second), late, late)
    assert bench.outbox() == []
    assert alice.state(task) == {"id": task, "state": "cancelled", "celery_id": None}
    assert runs_on_disk(bench.gateway) == set()
    again = alice.post(f"tasks/{task}/cancel/")
    assert (again.status_code, again.json) == (400, {"error": "Task is not running"})


def test_deleting_a_task_stops_its_run(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    command = bench.command()
    assert alice("DELETE", f"tasks/{task}/").status_code == 204
    assert str(bench.kill().run) == run
    assert bench.store.attempt(command).run_is_over()
    assert not bench.store.folder(task).exists()
    bench.hear(bench.started(command))
    assert bench.outbox() == []
