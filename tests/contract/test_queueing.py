"""Whose image is next, when more wait than the stages can take?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from gateway.models import AttemptState, StageAttempt, now
from gateway.orchestration.advance import record
from gateway.orchestration.ledger import Ledger
from gateway.orchestration.queueing import QUEUES, Queues
from gateway.orchestration.watchdog import look_after
from skyrelay.messages import KillRun, Lane, Outcome, RunStage
from tests.support.gateway import Bench, Caller, opened

WINDOW = 2


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """A gateway that gives the broker two commands of a stage at once."""
    with opened(tmp_path, database_url, skyrelay_queue_window=WINDOW) as gateway:
        yield Bench(gateway)


def _run(caller: Caller, priority: int = 0, step: str = "inspect") -> int:
    task = caller.new_task()
    body = {"steps": [step], "priority": priority}
    answer = caller.post(f"tasks/{task}/process/", json=body)
    assert answer.status_code == 200, answer.json
    return task


def _next(bench: Bench, command: RunStage) -> RunStage:
    """What is sent when this command has been done."""
    bench.hear(bench.started(command), bench.finished(command))
    return bench.command()


def test_no_more_than_a_window_of_commands_is_with_the_broker(bench: Bench, alice: Caller) -> None:
    tasks = [_run(alice) for _ in range(5)]
    sent = bench.commands()
    assert [command.task for command in sent] == tasks[:WINDOW]
    assert alice.get(f"tasks/{tasks[4]}/state").json["doing"] == "waits for a free worker"
    while sent:
        command = sent.pop(0)
        bench.hear(bench.finished(command))
        sent += bench.commands()
    assert {bench.state(task) for task in tasks} == {"inspect_done"}


def test_another_users_single_image_waits_for_few_of_a_backlog(
    bench: Bench, alice: Caller, bob: Caller
) -> None:
    backlog = [_run(alice) for _ in range(20)]
    single = _run(bob)
    first, second = bench.commands()
    third = _next(bench, first)
    fourth = _next(bench, second)
    assert single in {third.task, fourth.task}
    assert {third.task, fourth.task} <= {single, *backlog[WINDOW:]}


def test_two_backlogs_are_served_in_turns(bench: Bench, alice: Caller, bob: Caller) -> None:
    of_alice = [_run(alice) for _ in range(10)]
    of_bob = [_run(bob) for _ in range(10)]
    ahead, served = bench.commands(), []
    for _ in range(12):
        served.append(ahead.pop(0).task)
        ahead.append(_next(bench, _command(bench, served[-1])))
    # Alice's first images were with the broker before Bob came; from then on it is even.
    late = served[WINDOW:]
    assert abs(sum(t in of_alice for t in late) - sum(t in of_bob for t in late)) <= 1


def _command(bench: Bench, task: int) -> RunStage:
    with bench.gateway.database.reading() as session:
        rows = session.query(StageAttempt).filter(StageAttempt.state == AttemptState.QUEUED)
        (command,) = [row.run_stage for row in rows if row.run_stage.task == task]
    return command


def test_an_alert_overtakes_a_backlog(bench: Bench, alice: Caller) -> None:
    for _ in range(5):
        _run(alice, priority=-1)
    alert = _run(alice, priority=5)
    first, _ = bench.commands()
    assert _next(bench, first).task == alert


@pytest.mark.parametrize("priority", [11, -11, "high", 1.5])
def test_a_priority_that_makes_no_sense_is_refused(
    bench: Bench, alice: Caller, priority: object
) -> None:
    task = alice.new_task()
    body = {"steps": ["inspect"], "priority": priority}
    answer = alice.post(f"tasks/{task}/process/", json=body)
    assert answer.status_code == 400
    assert "priority" in str(answer.json)
    assert bench.outbox() == []


def test_ends_of_two_stages_at_once_make_room_for_one_of_each(bench: Bench, alice: Caller) -> None:
    steps = ("inspect", "photometry")
    for step in steps:
        for _ in range(WINDOW + 3):
            _run(alice, step=step)
    out = bench.commands()
    ended = [next(command for command in out if command.step == step) for step in steps]
    bench.outbox()
    record(bench.gateway, [bench.finished(command) for command in ended])
    assert sorted(command.step for command in bench.commands()) == list(steps)


def test_a_cancelled_run_makes_room_for_the_next(bench: Bench, alice: Caller) -> None:
    tasks = [_run(alice) for _ in range(4)]
    bench.outbox()
    assert alice.post(f"tasks/{tasks[0]}/cancel/").status_code == 200
    assert bench.command().task == tasks[2]
    assert alice.post(f"tasks/{tasks[3]}/cancel/").status_code == 200
    assert bench.outbox() == [], "nobody has to be told of what was never sent"


def test_a_run_that_waits_and_is_cancelled_is_never_sent(bench: Bench, alice: Caller) -> None:
    tasks = [_run(alice) for _ in range(4)]
    first, second = bench.commands()
    alice.post(f"tasks/{tasks[2]}/cancel/")
    assert _next(bench, first).task == tasks[3]
    bench.hear(bench.finished(second))
    assert bench.outbox() == []


def test_the_later_stages_of_a_chain_wait_for_their_own_queue(bench: Bench, alice: Caller) -> None:
    tasks = [alice.new_task() for _ in range(WINDOW + 1)]
    for task in tasks:
        alice.post(f"tasks/{task}/process/", json={"steps": ["inspect", "photometry"]})
    ahead = bench.commands()
    photometry = []
    for _ in tasks:
        bench.hear(bench.finished(ahead.pop(0)))
        for command in bench.commands():
            (photometry if command.step == "photometry" else ahead).append(command)
    assert len(photometry) == WINDOW
    assert [command.step for command in _waiting(bench)] == ["photometry"]


def _waiting(bench: Bench) -> list[RunStage]:
    with bench.gateway.database.reading() as session:
        rows = session.query(StageAttempt).filter(StageAttempt.state == AttemptState.WAITING)
        return [row.run_stage for row in rows]


def test_a_place_that_became_free_unseen_is_found(bench: Bench, alice: Caller) -> None:
    for _ in range(3):
        _run(alice)
    first, _ = bench.commands()
    with bench.gateway.database.writing() as session:
        row = session.get_one(StageAttempt, (str(first.run), 0, 0, 1))
        row.state = AttemptState.DONE
    look_after(bench.gateway)
    assert len(bench.commands()) == 1


def test_commands_that_nobody_takes_do_not_hide_work_that_is_lost(
    bench: Bench, alice: Caller
) -> None:
    _run(alice)
    lost = bench.command()
    long_ago, longer_ago = now() - timedelta(hours=1), now() - timedelta(hours=2)
    with bench.gateway.database.writing() as session:
        row = session.get_one(StageAttempt, (str(lost.run), 0, 0, 1))
        columns = {each.key: getattr(row, each.key) for each in row.__mapper__.column_attrs}
        waits = {"state": AttemptState.QUEUED, "heard": longer_ago}
        waiting = [
            columns | waits | {"attempt": number, "queue": queue}
            for number, queue in enumerate(["archive", row.queue] * 300, 2)
        ]
        session.execute(insert(StageAttempt), waiting)
        row.state, row.heard = AttemptState.RUNNING, long_ago
    look_after(bench.gateway)
    assert bench.commands() == [lost]


def test_large_images_go_to_a_queue_of_their_own(tmp_path: Path, database_url: str) -> None:
    with opened(tmp_path, database_url, skyrelay_large_image=0.001) as gateway:
        bench = Bench(gateway)
        alice = bench.caller("alice")
        small, large = alice.new_task(), alice.new_task()
        (gateway.store.folder(small) / "image.fits").write_bytes(b"x" * 100)
        (gateway.store.folder(large) / "image.fits").write_bytes(b"x" * 2000)
        for task in (small, large):
            alice.process(task, "inspect")
        lanes = {command.task: command.lane for command in bench.commands()}
    assert lanes == {small: Lane.NORMAL, large: Lane.LARGE}


def test_a_failed_stage_makes_room_too(bench: Bench, alice: Caller) -> None:
    for _ in range(3):
        _run(alice)
    first, _ = bench.commands()
    bench.hear(bench.finished(first, Outcome.FAILED, "The image is broken."))
    assert len(bench.commands()) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_cancel_that_meets_the_sending_of_its_command_kills_it(
    bench: Bench, alice: Caller
) -> None:
    first, _, last = (_run(alice) for _ in range(WINDOW + 1))
    ended = _command(bench, first)
    bench.outbox()
    with ThreadPoolExecutor(1) as pool:
        with bench.gateway.database.writing() as session:
            session.execute(
                update(StageAttempt)
                .where(StageAttempt.run_id == str(ended.run))
                .values(state=AttemptState.DONE)
            )
            Queues(bench.gateway, Ledger(session)).release(QUEUES)
            session.flush()
            cancelled = pool.submit(alice.post, f"tasks/{last}/cancel/")
            # It waits for the transaction that is sending its command at this moment.
            assert not wait([cancelled], timeout=0.5).done
        assert cancelled.result().status_code == 200
    assert [(type(sent), sent.task) for sent in bench.outbox()] == [
        (RunStage, last),
        (KillRun, last),
    ]
