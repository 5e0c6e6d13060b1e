"""How does a test do to a task of a store what gateway and workers do?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from skyrelay.messages import Outcome, RunStage
from skyrelay.records import AttemptRecord
from skyrelay.store import Attempt, TaskStore

TASK = 12


def put(store: TaskStore, name: str, content: bytes) -> None:
    with store.incoming() as received:
        received.write(content)
        store.complete(received)
        store.adopt(TASK, name, received)


def command_of(store: TaskStore, **more: Any) -> RunStage:
    run = uuid4()
    config = store.create_run(run, {"gain": 1.5})
    return RunStage(run=run, task=TASK, index=0, step="inspect", config=config, **more)


def record_of(attempt: Attempt, outcome: Outcome = Outcome.DONE) -> AttemptRecord:
    now = datetime.now(UTC)
    mine = attempt.message
    return AttemptRecord(
        run=str(mine.run),
        index=mine.index,
        step=mine.step,
        part=mine.part,
        attempt=mine.attempt,
        outcome=outcome,
        started=now,
        finished=now,
        config={"gain": 2.0},
    )


def work(attempt: Attempt, text: str = "new") -> None:
    (attempt.open_scratch() / "product.txt").write_text(text)


def names(store: TaskStore) -> set[str]:
    return {entry.name for entry in store.entries(TASK)}
