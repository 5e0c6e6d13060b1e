"""Does a client that follows a task hear of every change, and nobody else's?"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any

import pytest

from gateway.feed import Feed
from gateway.models import Task, now
from tests.support.gateway import Bench, Caller


def _events(caller: Caller, task: int) -> Generator[tuple[str, dict[str, Any]]]:
    """The events of the stream, one by one, as they arrive."""
    answer = caller.get(f"tasks/{task}/events/", buffered=False)
    assert answer.status_code == 200
    assert answer.mimetype == "text/event-stream"
    try:
        for chunk in answer.iter_encoded():
            lines = chunk.decode().strip().splitlines()
            if lines[0].startswith("event: "):
                kind = lines[0].removeprefix("event: ")
                yield kind, json.loads(lines[1].removeprefix("data: "))
    finally:
        answer.close()


def test_a_stream_begins_with_the_present_state_and_tells_every_change(
    bench: Bench, alice: Caller
) -> None:
    task = alice.new_task()
    with closing(_events(alice, task)) as events:
        assert next(events)[1]["state"] == "initial"
        alice.process(task, "inspect")
        kind, state = next(events)
        assert (kind, state["doing"]) == ("state", "waits for a free worker")
        assert state == alice.get(f"tasks/{task}/state/").json
        command = bench.command()
        bench.hear(bench.started(command), bench.progressed(command, 0.5, "masking"))
        state = next(state for _, state in events if state["fraction"])
        assert (state["state"], state["fraction"], state["doing"]) == ("inspect", 0.5, "masking")
        bench.hear(bench.finished(command))
        assert next(events)[1]["state"] == "inspect_done"


def test_a_stream_ends_when_its_task_is_deleted(alice: Caller) -> None:
    task = alice.new_task()
    events = _events(alice, task)
    next(events)
    alice("DELETE", f"tasks/{task}/")
    assert [kind for kind, _ in events] == ["gone"]


def test_only_who_may_see_a_task_may_follow_it(alice: Caller, eve: Caller) -> None:
    task = alice.new_task()
    assert eve.get(f"tasks/{task}/events/").status_code == 403
    assert alice.get("tasks/999/events/").status_code == 404


def test_streams_leave_threads_for_others(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    most = bench.gateway.settings.skyrelay_web_threads // 2
    streams = [_events(alice, task) for _ in range(most)]
    with ExitStack() as stack:
        for stream in streams:
            next(stack.enter_context(closing(stream)))
        refused = alice.get(f"tasks/{task}/events/")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "state/" in refused.json["detail"]
        streams[0].close()
        assert next(stack.enter_context(closing(_events(alice, task))))[0] == "state"


@pytest.mark.parametrize("states", [1, 50])
def test_a_slow_watcher_gets_the_latest_state_only(bench: Bench, states: int) -> None:
    feed = Feed(bench.gateway.database, lambda *_: {}, most=1)
    with feed.watching(1) as watcher:
        for number in range(states):
            watcher.put({"number": number})
        assert watcher.get(0) == {"number": states - 1}
        assert watcher.get(0) is None
    feed.stop()


def _own_events(caller: Caller, **headers: str) -> Generator[tuple[str, str, dict[str, Any]]]:
    """The events of the stream of all own tasks: id, kind, content. The first is an empty one."""
    answer = caller.get("events/", buffered=False, headers=headers)
    assert answer.status_code == 200
    try:
        for chunk in answer.iter_encoded():
            lines = dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines())
            yield lines.get("id", ""), lines.get("event", ""), json.loads(lines.get("data", "{}"))
    finally:
        answer.close()


def test_a_stream_of_all_own_tasks_tells_of_every_one_and_of_no_other(
    bench: Bench, alice: Caller, bob: Caller
) -> None:
    with closing(_own_events(alice)) as events:
        next(events)
        first, second, foreign = alice.new_task(), alice.new_task(), bob.new_task()
        told = {next(events)[2]["id"], next(events)[2]["id"]}
        assert told == {first, second}
        bob.process(foreign, "inspect")
        alice.process(second, "inspect")
        _, kind, state = next(events)
        assert (kind, state["id"], state["celery_id"] is not None) == ("state", second, True)
        assert state == alice.get(f"tasks/{second}/state/").json
        alice("DELETE", f"tasks/{first}/")
        assert next(events)[1:] == ("gone", {"id": first})


def test_who_connects_again_is_told_what_was_missed(bench: Bench, alice: Caller) -> None:
    with closing(_own_events(alice)) as events:
        next(events)
        task = alice.new_task()
        last, _, _ = next(events)
    alice("PATCH", f"tasks/{task}/", json={"title": "missed"})
    other = alice.new_task()
    with closing(_own_events(alice, **{"Last-Event-ID": last})) as events:
        next(events)
        assert {next(events)[2]["id"] for _ in range(2)} == {task, other}


def test_a_task_whose_state_cannot_be_told_keeps_nothing_from_the_watchers_of_others(
    bench: Bench, alice: Caller
) -> None:
    broken, sound = alice.new_task(), alice.new_task()

    def serialize(task: Task, *_: object) -> dict[str, Any]:
        if task.id == broken:
            raise KeyError("a stage of another installation")
        return {"id": task.id}

    feed = Feed(bench.gateway.database, serialize, most=3)
    with bench.gateway.database.reading() as session:
        owner = session.get_one(Task, broken).user_id
    with (
        feed.watching(broken) as first,
        feed.watching(sound) as second,
        feed.watching_tasks_of(owner, now() - timedelta(minutes=1)) as third,
    ):
        assert second.get(60.0) == {"id": sound}
        assert third.get(60.0) == {sound: {"id": sound}}
        assert first.get(0) is None, "it is not gone"
    feed.stop()


def test_an_error_that_nobody_foresaw_does_not_end_the_streams(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = alice.new_task()
    hand_out, rounds = Feed._hand_out, []

    def fail_once(feed: Feed, states: Any) -> None:
        rounds.append(states)
        if len(rounds) == 1:
            raise RuntimeError("nobody has foreseen this")
        hand_out(feed, states)

    monkeypatch.setattr(Feed, "_hand_out", fail_once)
    feed = Feed(bench.gateway.database, lambda task, *_: {"id": task.id}, most=1)
    with feed.watching(task) as watcher:
        assert watcher.get(60.0) == {"id": task}
    feed.stop()
