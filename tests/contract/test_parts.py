"""Does a stage that is split into parts come together again, whatever becomes of each of them?"""

from __future__ import annotations

from skyrelay.broker.consumer import DeadLetter
from skyrelay.messages import Outcome, RunStage
from tests.support.gateway import Bench, Caller

PARTS = 3


def _split(bench: Bench, caller: Caller, *more: str) -> tuple[int, list[RunStage]]:
    """A task whose subtraction has been split; the commands for its parts."""
    task = caller.new_task()
    caller.process(task, "subtraction", *more)
    prepared = bench.command()
    assert (prepared.part, prepared.parts, prepared.joins) == (0, 0, False)
    bench.hear(bench.started(prepared), bench.finished(prepared, parts=PARTS))
    return task, bench.commands()


def test_every_part_is_sent_and_then_what_joins_them(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice, "inspect")
    assert [command.part for command in parts] == [1, 2, 3]
    assert {command.parts for command in parts} == {PARTS}
    assert len({command.config for command in parts}) == 1
    state = alice.state(task)
    assert (state["state"], state["parts"], state["parts_done"]) == ("subtraction", 3, 0)
    for done, command in enumerate(reversed(parts), 1):
        assert bench.outbox() == []
        bench.hear(bench.started(command), bench.finished(command))
        assert alice.state(task)["parts_done"] == done
    join = bench.command()
    assert (join.part, join.parts, join.joins) == (4, 3, True)
    assert join.config == parts[0].config
    bench.hear(bench.started(join), bench.finished(join, product="sub_diff.fits"))
    following = bench.command()
    assert (following.step, following.part, following.parts) == ("inspect", 0, 0)
    assert alice.state(task)["state"] == "subtraction_done"
    stage = alice.get(f"tasks/{task}/runs/").json[0]["stages"][0]
    assert [attempt["part"] for attempt in stage["attempts"]] == [0, 1, 2, 3, 4]
    assert stage["state"] == "done"
    assert stage["seconds"] is not None


def test_the_progress_of_a_split_stage_only_grows(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice)
    seen = [alice.state(task)["fraction"]]
    for command in parts:
        bench.hear(bench.started(command))
        seen.append(alice.state(task)["fraction"])
        bench.hear(bench.progressed(command, 0.5, "subtracting"))
        seen.append(alice.state(task)["fraction"])
        bench.hear(bench.finished(command))
        seen.append(alice.state(task)["fraction"])
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] < 1


def test_a_part_that_fails_does_not_fail_its_run(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice)
    bench.hear(bench.finished(parts[0], Outcome.FAILED, "No star in it."))
    bench.hear(*(bench.finished(command) for command in parts[1:]))
    join = bench.command()
    bench.hear(bench.finished(join, Outcome.DEGRADED, "Part 1 is left out."))
    state = alice.state(task)
    assert (state["state"], state["degraded"]) == ("subtraction_done", ["Part 1 is left out."])


def test_a_part_whose_message_was_given_up_is_left_out(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice)
    dead = DeadLetter(parts[1].to_json().encode(), "subtraction", "The worker died 7 times.")
    bench.hear(dead, *(bench.finished(command) for command in (parts[0], parts[2])))
    assert bench.command().joins
    assert alice.state(task)["state"] == "subtraction"


def test_every_event_of_a_part_may_come_twice_and_late(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice)
    again = parts[0].model_copy(update={"attempt": 2})
    late = bench.finished(parts[0])
    bench.hear(bench.started(again), late, late, bench.started(parts[0]))
    assert alice.state(task)["parts_done"] == 0
    finished = [bench.finished(command) for command in (again, *parts[1:])]
    bench.hear(*finished, *finished)
    join = bench.command()
    bench.hear(*finished, late)
    assert bench.outbox() == []
    end = bench.finished(join)
    bench.hear(end, end)
    assert alice.state(task)["state"] == "subtraction_done"


def test_a_cancelled_run_ends_all_its_parts(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice)
    bench.hear(bench.started(parts[0]))
    assert alice.post(f"tasks/{task}/cancel/").status_code == 200
    assert bench.kill().run == parts[0].run
    stage = alice.get(f"tasks/{task}/runs/").json[0]["stages"][0]
    assert {attempt["state"] for attempt in stage["attempts"][1:]} == {"cancelled"}
    bench.hear(bench.started(parts[1]))
    assert alice.state(task)["state"] == "cancelled"


def test_a_join_that_fails_fails_the_run(bench: Bench, alice: Caller) -> None:
    task, parts = _split(bench, alice)
    bench.hear(*(bench.finished(command) for command in parts))
    bench.hear(bench.finished(bench.command(), Outcome.FAILED, "No part could be done."))
    state = alice.state(task)
    assert (state["state"], state["error"]) == ("subtraction_failed", "No part could be done.")
