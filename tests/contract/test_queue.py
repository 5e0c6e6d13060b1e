"""What does the queue show, to whom, and who may stop what?"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select

from gateway.models import Run, Task
from skyrelay.messages import Outcome
from tests.support.gateway import Bench, Caller

_OF_TASK = {"task_id", "task_name", "chain_position", "chain_total"}


def _begin(caller: Caller, *steps: str, **fields: Any) -> tuple[int, str]:
    task = caller.new_task("m51.fits", **fields)
    answer = caller.post(f"tasks/{task}/process/", json={"steps": list(steps)})
    return task, answer.json["celery_id"]


def test_the_queue_shows_every_run_and_its_task_to_those_who_may_see_it(
    bench: Bench, alice: Caller, eve: Caller
) -> None:
    assert alice.get("queue/").json == []
    task, run = _begin(alice, "inspect", "photometry")
    (entry,) = alice.get("queue").json
    assert entry == {
        "id": run,
        "name": "inspect",
        "full_name": "skyrelay.inspect.inspect",
        "state": "pending",
        "time_start": None,
        "task_id": task,
        "task_name": "m51.fits",
        "chain_position": 1,
        "chain_total": 2,
    }
    (hidden,) = eve.get("queue/").json
    assert hidden["id"] == run and not hidden.keys() & _OF_TASK
    command = bench.command()
    bench.hear(bench.started(command))
    (entry,) = alice.get("queue/").json
    assert entry["state"] == "active" and entry["time_start"] > 1.7e9
    bench.hear(bench.finished(command))
    (entry,) = alice.get("queue/").json
    assert (entry["name"], entry["state"], entry["chain_position"]) == ("photometry", "pending", 2)
    bench.hear(bench.finished(bench.command()))
    assert alice.get("queue/").json == []


def test_a_long_queue_comes_page_by_page_the_oldest_first(bench: Bench, alice: Caller) -> None:
    runs = [_begin(alice, "inspect")[1] for _ in range(5)]

    def ids(query: str) -> list[str]:
        return [entry["id"] for entry in alice.get(f"queue/{query}").json]

    assert ids("?limit=2") + ids("?limit=2&offset=2") + ids("?limit=2&offset=4") == runs
    assert ids("") == runs and len(ids("?limit=2")) == 2 and ids("?offset=5") == []
    for refused in ("limit=0", "limit=1001", "limit=many", "offset=-1"):
        assert alice.get(f"queue/?{refused}").status_code == 400


def test_who_gives_no_limit_gets_no_more_than_a_thousand(bench: Bench, alice: Caller) -> None:
    _begin(alice, "inspect")
    with bench.gateway.database.writing() as session:
        task, run = session.scalars(select(Task)).one(), session.scalars(select(Run)).one()
        rows = [_columns(task) | {"id": number, "celery_id": None} for number in range(2, 1502)]
        session.execute(insert(Task), rows)
        rows = [_columns(run) | {"id": str(uuid4()), "task_id": row["id"]} for row in rows]
        session.execute(insert(Run), rows)
    assert len(alice.get("queue/").json) == 1000
    assert len(alice.get("queue/?offset=1000").json) == 501


def _columns(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}


def test_an_entry_says_in_celerys_words_how_its_run_stands(
    bench: Bench, alice: Caller, eve: Caller
) -> None:
    task, run = _begin(alice, "inspect")
    entry = alice.get(f"queue/{run}/").json
    of_task = {"task_id": task, "task_name": "m51.fits", "chain_position": 1, "chain_total": 1}
    waiting = {"id": run, "state": "PENDING", "ready": False, "successful": None, "failed": None}
    assert entry == waiting | of_task
    assert eve.get(f"queue/{run}/").json == waiting
    command = bench.command()
    bench.hear(bench.started(command))
    assert alice.get(f"queue/{run}/").json["state"] == "STARTED"
    bench.hear(bench.finished(command))
    ended = alice.get(f"queue/{run}/").json
    said = (ended["state"], ended["ready"], ended["successful"], ended["failed"])
    assert said == ("SUCCESS", True, True, False)
    failing = alice.process(task, "inspect").json["celery_id"]
    bench.hear(bench.finished(bench.command(), Outcome.FAILED, "no stars"))
    ended = alice.get(f"queue/{failing}/").json
    assert (ended["state"], ended["successful"], ended["failed"]) == ("FAILURE", False, True)
    for unknown in (str(uuid4()), "nonsense", "a%00b"):
        assert alice.get(f"queue/{unknown}/").status_code == 404


def test_who_may_change_a_task_may_terminate_its_run(
    bench: Bench, alice: Caller, bob: Caller, eve: Caller, admin: Caller
) -> None:
    task, run = _begin(alice, "inspect", "photometry", groups=["observers"])
    assert eve.post(f"queue/{run}/terminate/").status_code == 403
    answer = bob.post(f"queue/{run}/terminate/")
    assert answer.status_code == 200
    expected = {"id": run, "task_id": task, "revoked_count": 2, "state": "cancelled"}
    assert answer.json == expected
    assert str(bench.kill().run) == run
    assert bench.state(task) == "cancelled"
    assert alice.get(f"queue/{run}/").json["state"] == "REVOKED"
    again = admin.post(f"queue/{run}/terminate/")
    assert (again.status_code, again.json) == (400, {"error": "Task is not running"})
    assert admin.post(f"queue/{uuid4()}/terminate/").status_code == 404


def test_an_old_id_does_not_stop_the_run_that_came_after(bench: Bench, alice: Caller) -> None:
    task, old = _begin(alice, "inspect")
    alice.post(f"tasks/{task}/cancel/")
    alice.process(task, "inspect")
    assert alice.post(f"queue/{old}/terminate/").status_code == 400
    assert bench.state(task) == "running"
