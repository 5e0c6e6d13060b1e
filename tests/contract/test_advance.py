"""How does a run advance, and end, whatever the order and number of the events?"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from gateway.models import IS_OUT, AuditEntry, StageAttempt, Task
from gateway.orchestration import patience
from gateway.orchestration.advance import record
from gateway.orchestration.watchdog import look_after
from skyrelay.broker.consumer import DeadLetter
from skyrelay.errors import Retriable
from skyrelay.messages import Outcome, RunStage, StageFinished
from skyrelay.records import SkyField
from skyrelay.store import RunOver
from tests.support.attempts import record_of
from tests.support.gateway import CHAIN, Bench, Caller, opened, runs_on_disk
from tests.support.processes import wait_until


def test_a_chain_goes_from_stage_to_stage_and_ends(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    run = alice.process(task).json["celery_id"]
    field = SkyField(ra=10.5, dec=-3.25, radius=0.4, pixel_scale=0.0002, moc="5/1-3")
    states = []
    for index, step in enumerate(CHAIN):
        command = bench.command()
        assert (command.step, command.index, command.attempt) == (step, index, 1)
        assert bench.store.read_config(command.config).get("last") == (
            CHAIN[index - 1] if index else None
        )
        bench.hear(bench.started(command))
        states.append(alice.state(task)["state"])
        bench.hear(bench.progressed(command, 0.5, "half of it"))
        now_at = alice.state(task)
        assert now_at["progress"] == pytest.approx((index + 0.5) / 4)
        assert (now_at["step"], now_at["doing"]) == (step, "half of it")
        bench.hear(bench.finished(command, config={"last": step}, field=field, product=step))
        states.append(alice.state(task)["state"])
    assert states == [
        "inspect",
        "inspect_done",
        "photometry",
        "photometry_done",
        "transients_simple",
        "transients_simple_done",
        "subtraction",
        "subtraction_done",
    ]
    assert bench.outbox() == []
    full = alice.get(f"tasks/{task}/").json
    assert full["celery_id"] is None
    assert full["completed"] is not None
    assert full["config"]["last"] == "subtraction"
    names = {entry["name"] for entry in alice.get(f"tasks/{task}/files/").json}
    assert names == set(CHAIN)
    with bench.gateway.database.reading() as session:
        kept = session.get_one(Task, task)
    assert (kept.ra, kept.dec, kept.radius, kept.moc) == (10.5, -3.25, 0.4, "5/1-3")
    assert runs_on_disk(bench.gateway) == set()
    told = alice.latest_run(task)
    assert (told["id"], told["state"], told["steps"]) == (run, "done", CHAIN)
    assert [stage["state"] for stage in told["stages"]] == ["done"] * 4
    assert all(stage["seconds"] is not None for stage in told["stages"])
    assert told["stages"][0]["values"]["fwhm"]["value"] == 3.5
    assert told["stages"][0]["attempts"][0]["worker"] == "bench"
    assert alice.process(task, "inspect").status_code == 200


def test_a_whole_chain_of_news_may_come_in_one_batch(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    batch = [
        bench.started(command),
        bench.progressed(command, 0.2),
        bench.progressed(command, 0.9),
        bench.finished(command),
    ]
    record(bench.gateway, batch + batch)
    assert alice.state(task) == {"id": task, "state": "inspect_done", "celery_id": None}


def test_every_event_may_come_twice(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect", "photometry")
    first = bench.command()
    news = [bench.started(first), bench.finished(first)]
    bench.hear(news[0], news[0], news[1], news[1], news[0])
    second = bench.command()
    assert second.step == "photometry"
    news = [bench.started(second), bench.finished(second)]
    bench.hear(news[0], news[1], news[1], news[0])
    assert bench.outbox() == []
    assert alice.state(task)["state"] == "photometry_done"
    with bench.gateway.database.reading() as session:
        ends = session.query(AuditEntry).filter_by(action="processing_complete").count()
    assert ends == 1


def test_the_end_of_a_stage_may_be_heard_before_its_beginning(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect", "photometry")
    command = bench.command()
    started, finished = bench.started(command), bench.finished(command)
    bench.hear(finished, started, bench.progressed(command, 0.3))
    assert bench.command().step == "photometry"
    assert alice.state(task)["state"] == "inspect_done"
    assert alice.latest_run(task)["stages"][0]["attempts"][0]["fraction"] == 1.0


def test_a_chain_stops_at_the_first_failed_stage_and_says_why(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, sn=3)
    command = bench.command()
    reason = "The file is not a FITS image."
    failed = bench.finished(command, Outcome.FAILED, reason, config={"sn": 9})
    bench.hear(bench.started(command), failed)
    assert bench.outbox() == []
    assert alice.state(task) == {
        "id": task,
        "state": "inspect_failed",
        "celery_id": None,
        "error": reason,
    }
    told = alice.latest_run(task)
    assert (told["state"], told["reasons"]) == ("failed", [reason])
    states = [stage["state"] for stage in told["stages"]]
    assert states == ["failed", "waiting", "waiting", "waiting"]
    full = alice.get(f"tasks/{task}/").json
    assert full["completed"] is None
    assert full["config"] == {"sn": 3.0}
    assert runs_on_disk(bench.gateway) == set()


def test_what_is_missing_from_a_degraded_result_is_said(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect", "photometry")
    reason = "The catalogue VSX did not answer."
    bench.hear(bench.finished(bench.command(), Outcome.DEGRADED, reason))
    bench.hear(bench.finished(bench.command()))
    assert alice.state(task) == {
        "id": task,
        "state": "photometry_done",
        "celery_id": None,
        "degraded": [reason],
    }
    assert alice.latest_run(task)["state"] == "degraded"
    alice.process(task, "inspect")
    assert "degraded" not in alice.state(task)


def test_a_stage_that_failed_without_a_record_is_not_done_by_a_second_delivery(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    late = bench.store.attempt(command)
    with late.claimed():
        (late.open_scratch() / "late.txt").write_text("late")
        # The gateway dies before it takes the run's folder away.
        monkeypatch.setattr(bench.store, "close_run", _fail_with(errno.EIO))
        bench.hear(bench.failed_without_record(command, "no room"))
        with pytest.raises(RunOver):
            late.publish(record_of(late))
    with pytest.raises(RunOver), bench.store.attempt(command).claimed():
        pass
    assert alice.state(task)["error"] == "no room"
    assert not bench.store.has(task, "late.txt")


def test_a_run_fails_even_where_a_full_disk_takes_no_mark(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    monkeypatch.setattr(bench.store, "cancel_run", _fail_with(errno.ENOSPC))
    monkeypatch.setattr(bench.store, "answers", lambda: False)
    bench.hear(bench.failed_without_record(bench.command(), "no room"))
    assert alice.state(task)["state"] == "inspect_failed"


def _fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_events_of_an_old_run_do_not_touch_the_new_one(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    old = bench.command()
    late = bench.finished(old)
    alice.post(f"tasks/{task}/cancel/")
    bench.outbox()
    run = alice.process(task, "inspect", "photometry").json["celery_id"]
    bench.hear(bench.started(old), late)
    state = alice.state(task)
    assert (state["state"], state["celery_id"]) == ("running", run)
    assert bench.command().step == "inspect"


def test_a_superseded_attempt_changes_nothing(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect", "photometry")
    first = bench.command()
    second = first.model_copy(update={"attempt": 2})
    late = bench.finished(first, Outcome.FAILED, "too late")
    bench.hear(bench.started(first), bench.started(second), late, bench.started(first))
    assert alice.state(task)["state"] == "inspect"
    bench.hear(bench.finished(second))
    assert bench.command().attempt == 1
    attempts = alice.latest_run(task)["stages"][0]["attempts"]
    assert [attempt["state"] for attempt in attempts] == ["superseded", "done"]


def test_a_message_among_the_dead_ends_its_run(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task)
    command = bench.command()
    bench.hear(bench.started(command))
    dead = DeadLetter(command.to_json().encode(), command.step, "The worker died 7 times.")
    bench.hear(dead, dead)
    state = alice.state(task)
    assert (state["state"], state["celery_id"]) == ("inspect_failed", None)
    assert "died 7 times" in state["error"]
    assert runs_on_disk(bench.gateway) == set()


def test_a_run_that_fails_is_marked_only_when_all_of_its_batch_can_be_recorded(
    bench: Bench, alice: Caller
) -> None:
    """The janitor would take an open run with a mark for one that was cancelled by half."""
    lost, done = alice.new_task(), alice.new_task()
    alice.process(lost, "inspect")
    command = bench.command()
    dead = DeadLetter(command.to_json().encode(), command.step, "The worker died 7 times.")
    alice.process(done, "inspect")
    finished = bench.finished(bench.command())
    record_path = bench.store.root / str(finished.record)
    record_path.rename(record_path.with_suffix(".kept"))
    record_path.mkdir()
    with pytest.raises(Retriable):
        record(bench.gateway, [dead, finished])
    assert not any(each.cancelled for each in bench.store.runs())
    record_path.rmdir()
    record_path.with_suffix(".kept").rename(record_path)
    record(bench.gateway, [dead, finished])
    assert [bench.state(task) for task in (lost, done)] == ["inspect_failed", "inspect_done"]


def test_the_end_of_an_unknown_task_or_run_is_ignored(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    finished = bench.finished(command)
    strange = finished.model_copy(update={"run": UUID(int=7)})
    nowhere = finished.model_copy(update={"task": 12345, "run": UUID(int=8)})
    bench.hear(strange, nowhere, bench.started(command))
    assert alice.state(task)["state"] == "inspect"


def test_a_lost_record_fails_the_run_instead_of_stopping_everything(
    bench: Bench, alice: Caller
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect", "photometry")
    finished = bench.finished(bench.command())
    bench.hear(finished.model_copy(update={"record": ".runs/none/record.json"}))
    state = alice.state(task)
    assert state["state"] == "inspect_failed"
    assert "record" in state["error"]


def test_a_record_that_cannot_be_read_is_given_up_after_a_while_and_others_go_on(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, other = alice.new_task(), alice.new_task()
    alice.process(task, "inspect")
    finished = bench.finished(bench.command())
    alice.process(other, "inspect")
    fine = bench.finished(bench.command())
    path = bench.store.root / str(finished.record)
    path.unlink()
    path.mkdir()  # Reading it is an error of the file system, whoever we are.
    for _ in range(3):
        with pytest.raises(Retriable):
            record(bench.gateway, [finished, fine])
    monkeypatch.setattr(patience, "LONGEST", 0.0)
    record(bench.gateway, [finished, fine])
    assert alice.state(task)["state"] == "inspect_failed"
    assert "record" in alice.state(task)["error"]
    assert alice.state(other)["state"] == "inspect_done"


def test_a_store_that_does_not_answer_is_waited_for(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    finished = bench.finished(bench.command())
    path = bench.store.root / str(finished.record)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    monkeypatch.setattr(patience, "LONGEST", 0.0)
    incoming = bench.store.root / ".incoming"
    incoming.rmdir()
    with pytest.raises(Retriable):
        record(bench.gateway, [finished])
    incoming.mkdir()
    path.rmdir()
    path.write_bytes(content)
    record(bench.gateway, [finished])
    assert alice.state(task)["state"] == "inspect_done"


def test_what_no_database_can_hold_does_not_stop_a_run(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    odd = {"name": "a\x00b", "list": [float("nan"), float("inf"), 1.5]}
    finished = bench.finished(command, Outcome.DEGRADED, "odd \x00 reason", config=odd)
    bench.hear(bench.progressed(command, 0.5, "reading \x00"), finished)
    config = alice.get(f"tasks/{task}/").json["config"]
    assert config == {"name": "a?b", "list": [None, None, 1.5]}
    assert alice.state(task)["degraded"] == ["odd ? reason"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_events_of_two_gateways_cancels_and_beginnings_never_wait_in_a_circle(
    tmp_path: Path, database_url: str
) -> None:
    """With so short a queue that every end of a stage, and every cancel, sends others on."""
    steps = ["inspect", "photometry"]
    with opened(tmp_path, database_url, skyrelay_queue_window=2) as gateway:
        bench = Bench(gateway)
        alice = bench.caller("alice")
        tasks = [alice.new_task() for _ in range(40)]
        at_once, later = tasks[:20], tasks[20:]
        for task in at_once:
            assert alice.process(task, *steps).status_code == 200

        def hear(seed: int) -> None:
            """As one of two gateways, between which the ends of the stages are divided."""
            dice = random.Random(seed)
            for _ in range(30):
                out = _out(bench)
                chosen = dice.sample(out, min(4, len(out)))
                news = [bench.started(command) for command in chosen]
                news += [_end(bench, command, dice) for command in out if command.task % 2 == seed]
                # A deadlock would be raised here, as `Retriable`.
                record(gateway, [*(bench.progressed(command, 0.5) for command in chosen), *news])

        def ask(asked: list[int], verb: str, **options: Any) -> list[int]:
            caller = Caller(bench.app.test_client(), alice.token)
            return [caller.post(f"tasks/{task}/{verb}/", **options).status_code for task in asked]

        with ThreadPoolExecutor(4) as pool:
            hearing = [pool.submit(hear, seed) for seed in (0, 1)]
            # The last ones first: they wait for their turn.
            cancelled = pool.submit(ask, at_once[::-2], "cancel")
            begun = pool.submit(ask, later, "process", json={"steps": steps})
            for each in hearing:
                each.result()
        assert begun.result() == [200] * len(later)
        assert set(cancelled.result()) <= {200, 400}, "400: it was over"
        assert 200 in cancelled.result()
        look_after(gateway)
        while out := _out(bench):
            bench.hear(*map(bench.finished, out))
            look_after(gateway)
        ends = {"cancelled", "photometry_done", "inspect_failed", "photometry_failed"}
        assert {bench.state(task) for task in tasks} <= ends


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_changes_for_a_while_is_waited_for(
    bench: Bench, alice: Caller, database_url: str
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    with _read_only(database_url):
        assert alice.post("tasks/", json={"original_name": "b.fits"}).status_code == 503
        with pytest.raises(Retriable):
            bench.hear(bench.started(command))
    finished = bench.finished(command)

    def heard() -> bool:
        try:
            bench.hear(finished)
        except Retriable:
            # A connection from before, which the pool gives away only now.
            return False
        return True

    assert wait_until(heard)
    assert alice.state(task)["state"] == "inspect_done"


@contextmanager
def _read_only(url: str) -> Iterator[None]:
    """Have the database refuse every change, as the old primary does after a switchover."""
    name = make_url(url).database
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        connection.execute(f"{others} AND pid <> pg_backend_pid()", [name])
        yield
        connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


def _out(bench: Bench) -> list[RunStage]:
    """The commands that the broker or a replica has."""
    with bench.gateway.database.reading() as session:
        return [row.run_stage for row in session.scalars(select(StageAttempt).where(IS_OUT))]


def _end(bench: Bench, command: RunStage, dice: random.Random) -> StageFinished:
    """The news that a stage has ended, in one case of five badly."""
    if dice.random() < 0.8:
        with suppress(RunOver, FileNotFoundError):  # It was cancelled meanwhile.
            return bench.finished(command)
    return bench.failed_without_record(command, "The image is broken.")
