"""Does an attempt whose worker has died come to an end, even where that cannot be recorded?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from skyrelay.messages import Outcome, RunStage
from skyrelay.stage.answers import Away, Ended
from skyrelay.stage.carry_out import close
from skyrelay.store import TaskStore


@pytest.fixture
def store(tmp_path: Path) -> TaskStore:
    made = TaskStore(tmp_path / "tasks")
    made.create(1)
    return made


def command_with(store: TaskStore, config: dict[str, object]) -> RunStage:
    run = uuid4()
    key = store.create_run(run, config)
    return RunStage(run=run, task=1, index=0, step="inspect", config=key)


def close_it(store: TaskStore, command: RunStage) -> Ended:
    answer = close(command, store, "It died.", started=datetime.now(UTC), may_retry=False)
    assert isinstance(answer, Ended)
    assert (answer.outcome, answer.reasons) == (Outcome.FAILED, ("It died.",))
    return answer


def test_the_end_of_an_attempt_is_recorded(store: TaskStore) -> None:
    assert close_it(store, command_with(store, {"gain": 1.5})).record is not None


def test_an_end_that_cannot_be_recorded_is_a_failure_without_a_record(store: TaskStore) -> None:
    command = command_with(store, {"gain": 1.5})
    attempt = store.attempt(command)
    attempt.folder.mkdir()
    (attempt.folder / "scratch").write_text("a file where the folder should be")
    assert close_it(store, command).record is None


def test_a_record_that_nobody_can_read_does_not_keep_an_attempt_open(store: TaskStore) -> None:
    command = command_with(store, {"gain": 1.5})
    attempt = store.attempt(command)
    attempt.folder.mkdir()
    (attempt.folder / "record.json").write_text("{")
    assert close_it(store, command).record is None


class GoingStore(TaskStore):
    """A store whose file system goes when a configuration is asked for."""

    def read_config(self, key: str) -> dict[str, Any]:
        self.root.rename(self.root.with_name("elsewhere"))
        return super().read_config(key)


def test_an_attempt_is_not_ended_where_the_store_goes_meanwhile(store: TaskStore) -> None:
    command = command_with(store, {"gain": 1.5})
    going = GoingStore(store.root)
    answer = close(command, going, "It died.", started=datetime.now(UTC), may_retry=False)
    assert isinstance(answer, Away)
