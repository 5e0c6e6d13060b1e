"""What can an administrator see of, and do about, messages on which nobody could work?"""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from skyrelay.broker.consumer import DeadLetter
from skyrelay.broker.topology import DEAD_EVENT
from skyrelay.messages import RunStage
from tests.support.gateway import Bench, Caller

STEPS = ["inspect", "photometry", "subtraction"]


def _dead_command(bench: Bench, caller: Caller) -> tuple[int, RunStage]:
    """A task whose photometry was given up, and the command that was."""
    task = caller.new_task()
    caller.post(f"tasks/{task}/process/", json={"steps": STEPS, "config": {"sn": 7}})
    bench.hear(bench.finished(bench.command()))
    command = bench.command()
    body = command.to_json().encode()
    bench.hear(DeadLetter(body, "photometry", "The worker died 7 times while working on it."))
    return task, command


def test_a_dead_letter_is_kept_with_its_reason(bench: Bench, alice: Caller, admin: Caller) -> None:
    task, command = _dead_command(bench, alice)
    (letter,) = admin.get("dead/").json
    assert letter["reason"] == "The worker died 7 times while working on it."
    assert (letter["task"], letter["run"]) == (task, str(command.run))
    assert admin.get(f"dead/{letter['id']}/").json == letter
    assert RunStage.model_validate_json(letter["body"]) == command


def test_a_letter_that_is_delivered_again_is_counted_once(
    bench: Bench, alice: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    before = _counted()
    _, command = _dead_command(bench, alice)
    letter = DeadLetter(
        command.to_json().encode(), "photometry", "The worker died 7 times while working on it."
    )
    bench.hear(letter, letter)
    assert _counted() - before == 1
    (said,) = [record for record in caplog.records if "DEAD LETTER" in record.getMessage()]
    assert said.levelname == "ERROR"


def _counted() -> float:
    return REGISTRY.get_sample_value("skyrelay_dead_letters_total") or 0.0


def test_only_administrators_see_dead_letters(bench: Bench, alice: Caller) -> None:
    _dead_command(bench, alice)
    for answer in (
        alice.get("dead/"),
        alice.get("dead/1/"),
        alice.post("dead/1/replay/"),
        alice("DELETE", "dead/1/"),
    ):
        assert answer.status_code == 403


def test_a_replay_does_the_steps_that_were_left(bench: Bench, alice: Caller, admin: Caller) -> None:
    task, command = _dead_command(bench, alice)
    answer = admin.post("dead/1/replay/")
    assert answer.status_code == 200
    assert answer.json["steps"] == STEPS[1:]
    again = bench.command()
    assert (again.task, again.step) == (task, "photometry")
    assert str(again.run) == answer.json["celery_id"] != str(command.run)
    assert bench.store.read_config(again.config)["sn"] == 7
    assert admin.get("dead/").json == []
    (letter,) = admin.get("dead/?all=1").json
    assert (letter["handled"], letter["handled_by"]) == ("replayed", "admin")
    states = [run["state"] for run in alice.get(f"tasks/{task}/runs/").json]
    assert states == ["open", "failed"]


def test_a_letter_is_dealt_with_once(bench: Bench, alice: Caller, admin: Caller) -> None:
    _dead_command(bench, alice)
    assert admin("DELETE", "dead/1/").status_code == 204
    assert admin.get("dead/").json == []
    refused = admin.post("dead/1/replay/")
    assert refused.status_code == 409
    assert "dropped already" in refused.json["error"]
    assert admin("DELETE", "dead/1/").status_code == 409


def test_a_replay_waits_for_the_task_to_be_free(bench: Bench, alice: Caller, admin: Caller) -> None:
    task, _ = _dead_command(bench, alice)
    alice.process(task, "inspect")
    refused = admin.post("dead/1/replay/")
    assert refused.status_code == 409
    assert "is being processed" in refused.json["error"]
    assert len(admin.get("dead/").json) == 1


def test_a_letter_of_a_deleted_task_can_only_be_dropped(
    bench: Bench, alice: Caller, admin: Caller
) -> None:
    task, _ = _dead_command(bench, alice)
    alice("DELETE", f"tasks/{task}/")
    refused = admin.post("dead/1/replay/")
    assert refused.status_code == 409
    assert "is gone" in refused.json["error"]
    assert admin("DELETE", "dead/1/").status_code == 204


@pytest.mark.parametrize("index", [3, -1, 10**9])
def test_a_letter_of_a_stage_that_its_run_does_not_have_can_only_be_dropped(
    bench: Bench, alice: Caller, admin: Caller, index: int
) -> None:
    _, command = _dead_command(bench, alice)
    body = command.to_json().replace('"index":1', f'"index":{index}')
    bench.hear(DeadLetter(body.encode(), "photometry", "The message could not be read."))
    refused = admin.post("dead/2/replay/")
    assert refused.status_code == 409
    assert f"about stage {index + 1} of a run of 3" in refused.json["error"]
    assert admin("DELETE", "dead/2/").status_code == 204


def test_a_command_of_another_version_fails_its_run_with_that_reason(
    bench: Bench, alice: Caller, admin: Caller
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    newer = bench.command().to_json().replace('"version":1', '"version":9')
    bench.hear(DeadLetter(newer.encode(), "inspect", "The message could not be read: version."))
    state = alice.get(f"tasks/{task}/state/").json
    assert state["state"] == "inspect_failed"
    assert "could not be read: version" in state["error"]


def test_what_nobody_understands_is_kept_and_hurts_nobody(bench: Bench, admin: Caller) -> None:
    bench.hear(DeadLetter(b"\x00\xff{", "inspect", "The message could not be read."))
    (letter,) = admin.get("dead/").json
    assert (letter["task"], letter["run"]) == (None, None)
    refused = admin.post(f"dead/{letter['id']}/replay/")
    assert refused.status_code == 409
    assert "only dropping it" in refused.json["error"]


def test_an_outcome_that_cannot_be_recorded_fails_its_run(
    bench: Bench, alice: Caller, admin: Caller
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    started, finished = bench.started(command), bench.finished(command)
    bench.hear(DeadLetter(started.to_json().encode(), DEAD_EVENT, "It could not be recorded."))
    assert alice.get(f"tasks/{task}/state/").json["celery_id"] is not None
    bench.hear(DeadLetter(finished.to_json().encode(), DEAD_EVENT, "It could not be recorded."))
    assert alice.get(f"tasks/{task}/state/").json["state"] == "inspect_failed"
    assert len(admin.get("dead/").json) == 2


def test_a_letter_that_does_not_exist_is_not_found(admin: Caller) -> None:
    assert admin.get("dead/7/").status_code == 404
    assert admin.post("dead/99999999999/replay/").status_code == 404


def test_an_administrator_can_end_everything(bench: Bench, alice: Caller, admin: Caller) -> None:
    tasks = [alice.new_task() for _ in range(20)]
    for task in tasks:
        alice.process(task, "inspect")
    bench.outbox()
    assert alice.post("queue/terminate_all/").status_code == 403
    answer = admin.post("queue/terminate_all/")
    assert answer.json == {"cancelled": 20}
    assert {bench.state(task) for task in tasks} == {"cancelled"}
    assert admin.post("queue/terminate_all/").json == {"cancelled": 0}
    killed = [message for message in bench.outbox() if message.kind == "KillRun"]
    # Sixteen were with the broker; nobody has to be told of those that waited.
    assert len(killed) == bench.gateway.settings.skyrelay_queue_window
