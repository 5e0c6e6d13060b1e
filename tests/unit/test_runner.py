"""Does a runner give a worker back only when the worker has nothing more to say?"""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from skyrelay.messages import RunStage
from skyrelay.settings import Settings
from skyrelay.stage.answers import Over
from skyrelay.store import Attempt, TaskStore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Eventlet says on import that it is old.
    from skyrelay.stage.runner import StageRunner, _Job


class Worker:
    """Says what it is given; a worker that computes says nothing."""

    pid = 1

    def __init__(self, *says: Any) -> None:
        self.says = list(says)
        self.ended = False

    def send(self, command: RunStage) -> None:
        pass

    def receive(self, seconds: float) -> Any:
        return self.says.pop(0) if self.says else None

    def end(self, grace: float) -> None:
        self.ended = True


class Pool:
    """One worker; whether it had ended when it was given back."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.given_back: list[bool] = []

    def acquire(self) -> Worker:
        return self.worker

    def release(self, worker: Worker) -> None:
        self.given_back.append(worker.ended)


class StoreWithABug:
    """Does what nobody foresaw when it is asked for an attempt."""

    def attempt(self, command: RunStage) -> Attempt:
        raise ZeroDivisionError


def runner_with(worker: Worker, store: Any) -> tuple[Any, Pool]:
    runner: Any = StageRunner()
    pool = runner.pool = Pool(worker)
    runner._store = store
    runner._settings = Settings(_env_file=None)
    return runner, pool


def command() -> RunStage:
    return RunStage(run=uuid4(), task=1, index=0, step="trial", config="config.json")


def test_a_worker_that_has_answered_is_given_back_alive() -> None:
    asked = command()
    runner, pool = runner_with(Worker(Over(attempt=(asked.run, 0, 0, 1))), StoreWithABug())
    assert isinstance(runner._work(_Job(asked)), Over)
    assert pool.given_back == [False]


def test_a_worker_that_still_computes_when_the_runner_fails_is_ended() -> None:
    runner, pool = runner_with(Worker(), StoreWithABug())
    with pytest.raises(ZeroDivisionError):
        runner._work(_Job(command()))
    assert pool.given_back == [True]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_worker_goes_on_while_the_store_cannot_be_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    asked = command()
    answer = Over(attempt=(asked.run, 0, 0, 1))
    runner, pool = runner_with(Worker(None, answer), TaskStore(tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", fail)
        assert isinstance(runner._work(_Job(asked, looked=0.0)), Over)
    assert pool.given_back == [False]
    assert "cannot see whether the run was cancelled" in caplog.text
