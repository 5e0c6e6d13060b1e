"""Does what waits in the outbox reach the broker, whatever else waits there?"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from sqlalchemy import func, insert, select

from gateway.models import OutboxMessage, now
from skyrelay.messages import RunStage
from tests.support.gateway import opened
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
        with gateway.database.writing() as session:
            session.execute(insert(OutboxMessage), rows)
        gateway.outbox.start()
        try:
            assert take(amqp_uri, "work.inspect") == [command]
        finally:
            gateway.outbox.stop()
        with gateway.database.reading() as session:
            left = session.scalar(select(func.count()).select_from(OutboxMessage))
    assert left == UNREADABLE
