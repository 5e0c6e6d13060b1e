"""Does what waits in the outbox reach the broker, whatever else waits there?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select

from gateway.models import OutboxMessage, now
from gateway.orchestration import outbox
from skyrelay.messages import KillRun, RunStage
from tests.support.gateway import opened
from tests.support.processes import wait_until
from tests.support.queues import take

#: More than are claimed before the first of them are due again.
UNREADABLE = 900


def test_rows_of_another_version_do_not_keep_the_others_waiting(
    tmp_path: Path, database_url: str, amqp_uri: str
) -> None:
    command = RunStage(run=uuid4(), task=1, index=0, step="inspect", config="nothing")
    newer = command.to_json().replace('"version":1', '"version":9')
    rows = [{"body": body, "due": now()} for body in [newer] * UNREADABLE + [command.to_json()]]
    with opened(tmp_path, database_url, amqp_uri=amqp_uri) as gateway:

        def left() -> int | None:
            with gateway.database.reading() as session:
                return session.scalar(select(func.count()).select_from(OutboxMessage))

        with gateway.database.writing() as session:
            session.execute(insert(OutboxMessage), rows)
        gateway.outbox.start()
        try:
            assert set(take(amqp_uri, "work.inspect")) == {command}
            assert wait_until(lambda: left() == UNREADABLE)
        finally:
            gateway.outbox.stop()
        assert left() == UNREADABLE


def test_a_kill_whose_run_cannot_be_marked_keeps_nothing_else_waiting(
    tmp_path: Path, database_url: str, amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "UNMARKED_PAUSE", timedelta(0))
    command = RunStage(run=uuid4(), task=1, index=0, step="inspect", config="nothing")
    kill = KillRun(run=uuid4(), task=2, reason="cancelled")
    with opened(tmp_path, database_url, amqp_uri=amqp_uri) as gateway:

        def left() -> list[str]:
            with gateway.database.reading() as session:
                return list(session.scalars(select(OutboxMessage.body)))

        locks = gateway.store.root / ".locks"
        locks.rename(tmp_path / "locks")
        rows = [{"body": message.to_json(), "due": now()} for message in (kill, command)]
        with gateway.database.writing() as session:
            session.execute(insert(OutboxMessage), rows)
        gateway.outbox.start()
        try:
            assert set(take(amqp_uri, "work.inspect")) == {command}
            assert wait_until(lambda: left() == [kill.to_json()])
            (tmp_path / "locks").rename(locks)
            assert wait_until(lambda: not left())
        finally:
            gateway.outbox.stop()
