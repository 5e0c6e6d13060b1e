"""Does sharing a task with one's own groups leave alone what others have shared it with?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import Bench, Caller


@pytest.fixture
def shared(bench: Bench, alice: Caller, admin: Caller) -> int:
    """A task of alice, shared with observers, and by an administrator with a group of others."""
    bench.caller("zoe", "night shift")
    task = alice.new_task(groups=["observers"])
    answer = admin.post(f"tasks/{task}/groups/", json={"add": ["night shift"]})
    assert answer.json["groups"] == ["night shift", "observers"]
    return task


def change(caller: Caller, task: int, **groups: Any) -> Any:
    answer = caller.post(f"tasks/{task}/groups/", json=groups)
    assert answer.status_code == 200, answer.json
    return answer.json["groups"]


def test_groups_that_one_is_not_in_stay(bob: Caller, shared: int) -> None:
    assert change(bob, shared, remove=["observers"]) == ["night shift"]
    # With that bob has given up what he may see himself.
    assert bob.post(f"tasks/{shared}/groups/", json={"add": ["observers"]}).status_code == 403


def test_what_is_asked_for_twice_is_done_once(alice: Caller, shared: int, admin: Caller) -> None:
    for _ in range(2):
        assert change(alice, shared, remove=["observers"]) == ["night shift"]
    for _ in range(2):
        both = change(alice, shared, add=["observers", "observers"])
        assert both == ["night shift", "observers"]
    entries = admin.get(f"audit/?task={shared}&user=alice&action=task_update").json["results"]
    assert [entry["details"]["changes"]["groups"]["new"] for entry in entries] == [
        ["night shift", "observers"],
        ["night shift"],
    ]


def test_one_shares_with_ones_own_groups_only(alice: Caller, eve: Caller, shared: int) -> None:
    for change_of in ({"add": ["strangers"]}, {"remove": ["night shift"]}, {"add": ["nobody"]}):
        answer = alice.post(f"tasks/{shared}/groups/", json=change_of)
        assert answer.status_code == 400 and "groups" in answer.json
    assert eve.post(f"tasks/{shared}/groups/", json={"add": ["strangers"]}).status_code == 403
    assert alice.post("tasks/99/groups/", json={"add": ["observers"]}).status_code == 404
