"""Is what is asked of many tasks done to each that allows it, and to no other?"""

from __future__ import annotations

import errno
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.gateway import Bench, Caller


def act(caller: Caller, action: str, ids: Any, **more: Any) -> list[dict[str, Any]]:
    answer = caller.post("tasks/actions/", json={"action": action, "ids": ids} | more)
    assert answer.status_code == 200, answer.json
    found: list[dict[str, Any]] = answer.json
    return found


def test_archiving_and_cleaning_up_are_runs_of_their_own(bench: Bench, alice: Caller) -> None:
    tasks = [alice.new_task(), alice.new_task()]
    for action in ("archive", "cleanup"):
        answers = act(alice, action, tasks)
        commands = {command.task: command for command in bench.commands()}
        assert {answer["id"]: answer["celery_id"] for answer in answers} == {
            task: str(commands[task].run) for task in tasks
        }
        assert {command.step for command in commands.values()} == {action}
        busy = act(alice, action, tasks)
        assert {answer["error"] for answer in busy} == {"Task is already processing"}
        bench.hear(*(bench.finished(command) for command in commands.values()))
    assert bench.state(tasks[0]) == "cleanup_done"


def test_rights_are_asked_for_each_task(
    bench: Bench, alice: Caller, bob: Caller, eve: Caller
) -> None:
    shared, own = alice.new_task(groups=["observers"]), bob.new_task()
    foreign = eve.new_task()
    answers = act(bob, "delete", f"{shared}-{foreign} 99")
    assert [answer["status"] for answer in answers] == ["error", "success", "error", "error"]
    assert [answers[number]["error"] for number in (0, 2, 3)] == [
        "Permission denied",
        "Permission denied",
        "Not found.",
    ]
    assert not bench.store.folder(own).exists() and bench.store.folder(shared).exists()
    assert [answer["status"] for answer in act(bob, "archive", [shared, foreign])] == [
        "success",
        "error",
    ]


def test_many_tasks_are_shared_and_no_longer(alice: Caller, bob: Caller) -> None:
    tasks = [alice.new_task(), alice.new_task()]
    act(alice, "add_to_groups", tasks, groups=["observers"])
    assert {each["id"] for each in bob.get("tasks/").json} == set(tasks)
    act(alice, "remove_from_groups", tasks, groups=["observers"])
    assert bob.get("tasks/").json == []
    (refused,) = act(alice, "add_to_groups", tasks[:1], groups=["strangers"])
    assert refused["error"] == "Object with name=strangers does not exist."


@pytest.mark.parametrize(
    "body",
    [
        {"action": "explode", "ids": "1"},
        {"action": "archive"},
        {"action": "archive", "ids": "one"},
        {"action": "archive", "ids": "1-1000"},
        {"action": "add_to_groups", "ids": "1"},
    ],
)
def test_a_request_that_makes_no_sense_does_nothing(
    bench: Bench, alice: Caller, body: dict[str, Any]
) -> None:
    alice.new_task()
    assert alice.post("tasks/actions/", json=body).status_code == 400
    assert bench.commands() == []


@pytest.mark.parametrize(
    ("error", "sentence", "third"),
    [
        (OSError(errno.EIO, "Input/output error"), "Internal error", "success"),
        (OperationalError("", None, Exception("gone")), "database does not answer", "error"),
    ],
)
def test_an_error_at_one_task_takes_nobody_the_answers_for_the_others(
    bench: Bench,
    alice: Caller,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
    third: str,
) -> None:
    tasks = [alice.new_task() for _ in range(3)]
    create_run, tried = bench.store.create_run, []

    def create(*given: Any) -> str:
        tried.append(given)
        if len(tried) == 2:
            raise error
        return create_run(*given)

    monkeypatch.setattr(bench.store, "create_run", create)
    answers = act(alice, "archive", tasks)
    assert [answer["status"] for answer in answers] == ["success", "error", third]
    assert sentence in answers[1]["error"]
    begun = [answer["id"] for answer in answers if answer["status"] == "success"]
    assert [command.task for command in bench.commands()] == begun
    # While the database is away nobody waits for it once for each task.
    assert len(tried) == (3 if third == "success" else 2)
