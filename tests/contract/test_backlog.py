"""Do the figures that are looked up tell what waits, where, and since when?"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from gateway.backlog import Backlog
from gateway.models import FollowUp, Intake, IntakeFile, OutboxMessage, StageAttempt, User, now
from skyrelay.broker.consumer import DeadLetter
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.figures import Figures, readable
from tests.support.gateway import Bench, Caller, opened
from tests.support.processes import wait_until


@pytest.fixture(name="bench")
def a_bench_with_a_window(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """A gateway that hands out one command at a time, and has no broker."""
    (port,) = free_ports(1)
    uri = f"amqp://guest:guest@{LOOPBACK}:{port}/"
    with opened(tmp_path, database_url, skyrelay_queue_window=1, amqp_uri=uri) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


def look(bench: Bench) -> Figures:
    return Figures.here(Backlog(bench.gateway, patience=60.0).collect())


def test_an_installation_in_which_nothing_waits_says_so(bench: Bench) -> None:
    figures = look(bench)
    for name in ("open_runs", "outbox_messages", "outbox_lag_seconds", "dead_letters_waiting"):
        assert figures.has(f"skyrelay_{name}")
        assert figures(f"skyrelay_{name}") == 0
    assert not figures.has("skyrelay_oldest_waiting_seconds")
    assert figures("skyrelay_follow_ups_waiting") == 0


def test_what_waits_is_counted_where_it_waits_and_its_age_is_told(
    bench: Bench, alice: Caller
) -> None:
    tasks = [alice.new_task() for _ in range(3)]
    for task in tasks:
        assert alice.process(task, "inspect").status_code == 200
    with bench.gateway.database.writing() as session:
        session.execute(update(OutboxMessage).values(created=now() - timedelta(seconds=100)))
        session.execute(update(StageAttempt).values(queued=now() - timedelta(seconds=1000)))
    figures = look(bench)
    assert figures("skyrelay_open_runs") == 3
    assert figures("skyrelay_attempts_out", queue="inspect", state="queued") == 1
    assert figures("skyrelay_attempts_waiting", queue="inspect") == 2
    assert 1000 <= figures("skyrelay_oldest_waiting_seconds", queue="inspect") < 1100
    assert figures("skyrelay_outbox_messages") == 1
    assert 100 <= figures("skyrelay_outbox_lag_seconds") < 200

    command = bench.command()
    assert look(bench)("skyrelay_outbox_messages") == 0
    bench.hear(bench.started(command))
    figures = look(bench)
    assert figures("skyrelay_attempts_out", queue="inspect", state="queued") == 0
    assert figures("skyrelay_attempts_out", queue="inspect", state="running") == 1
    bench.hear(bench.finished(command))
    figures = look(bench)
    assert figures("skyrelay_open_runs") == 2
    # Its place was taken by the next one; what it measured is to be put into the tables.
    assert figures("skyrelay_attempts_waiting", queue="inspect") == 1
    assert figures("skyrelay_follow_ups_waiting", duty="index") == 1
    with bench.gateway.database.writing() as session:
        session.execute(update(FollowUp).values(created=now() - timedelta(seconds=500)))
    assert 500 <= look(bench)("skyrelay_follow_ups_oldest_seconds", duty="index") < 600


def test_what_was_put_aside_is_counted_until_somebody_has_dealt_with_it(
    bench: Bench, admin: Caller
) -> None:
    bench.hear(DeadLetter(b"poison", "inspect", "It was given up."))
    assert look(bench)("skyrelay_dead_letters_waiting") == 1
    (letter,) = list(admin.get("dead/").json or ())
    assert admin("DELETE", f"dead/{letter['id']}/").status_code < 300
    assert look(bench)("skyrelay_dead_letters_waiting") == 0


def test_a_file_that_waits_to_become_a_task_is_seen_unless_its_folder_is_not_watched_now(
    bench: Bench, alice: Caller
) -> None:
    with bench.gateway.database.writing() as session:
        owner = session.query(User).first()
        assert owner is not None
        intake = Intake(kind="watch", user_id=owner.id, folder="night")
        session.add(intake)
        session.flush()
        seen = now() - timedelta(seconds=300)
        session.add(IntakeFile(intake_id=intake.id, path="night/a.fits", state="ready", seen=seen))
        session.add(IntakeFile(intake_id=intake.id, path="night/b.fits", state="taken", seen=seen))
    figures = look(bench)
    assert figures("skyrelay_intake_waiting") == 1
    assert 300 <= figures("skyrelay_intake_oldest_seconds") < 400
    with bench.gateway.database.writing() as session:
        session.execute(update(Intake).values(active=False))
    assert look(bench)("skyrelay_intake_waiting") == 0


def test_the_room_of_the_store_is_that_of_its_file_system(bench: Bench) -> None:
    found = os.statvfs(bench.gateway.settings.tasks_path)
    assert look(bench)("skyrelay_store_size_bytes") == found.f_blocks * found.f_frsize


def test_the_size_of_the_database_grows_with_what_is_in_it(bench: Bench, alice: Caller) -> None:
    before = look(bench)("skyrelay_database_bytes")
    assert before > 100_000
    for _ in range(30):
        alice.new_task(title="x" * 200, config={"note": "x" * 20_000})
    assert look(bench)("skyrelay_database_bytes") > before


def test_a_broker_that_is_away_leaves_its_figures_out_and_says_so(bench: Bench) -> None:
    figures = look(bench)
    assert not figures.has("skyrelay_queue_messages")
    assert readable(figures) == {"database": 1, "broker": 0, "store": 1}


def test_a_broker_that_never_answers_keeps_nobody_else_waiting(
    tmp_path: Path, database_url: str
) -> None:
    with socket.create_server((LOOPBACK, 0)) as mute:
        uri = f"amqp://guest:guest@{LOOPBACK}:{mute.getsockname()[1]}/"
        with opened(tmp_path, database_url, amqp_uri=uri) as gateway:
            backlog = Backlog(gateway, patience=1.0)

            def all_but_the_broker_answer() -> bool:
                figures = Figures.here(backlog.collect())
                return (
                    readable(figures) == {"database": 1, "broker": 0, "store": 1}
                    and figures.has("skyrelay_open_runs")
                    and figures.has("skyrelay_store_free_bytes")
                )

            for _ in range(2):
                assert wait_until(all_but_the_broker_answer)
            assert [t.name for t in threading.enumerate()].count("look at the broker") <= 1


def test_a_store_whose_file_system_is_not_mounted_is_away(bench: Bench) -> None:
    root = bench.store.root
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    figures = look(bench)
    assert readable(figures) == {"database": 1, "broker": 0, "store": 0}
    assert not figures.has("skyrelay_store_free_bytes")
