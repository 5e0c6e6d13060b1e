"""Does a running Skyrelay obey a cancel at once, share its work, and survive the loss of a part?"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from skyrelay.client import Client
from skyrelay.stack.stack import Stack
from tests.support.observing import HANGS, make_task, process
from tests.support.processes import is_alive, processes_with, wait_until


def science_of(stack: Stack, run: str) -> dict[int, str]:
    """Processes that have a place of this run in their environment or command line."""
    return {
        pid: command for pid, command in processes_with(str(stack.folder)).items() if run in command
    }


def hold(stack: Stack, run: str) -> bool:
    """Whether a program of the run stands still from now on, so that its stage cannot end."""
    seen = science_of(stack, run)
    for pid in seen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    return any(map(is_alive, seen))


def test_a_cancel_in_mid_stage_leaves_the_folder_as_it_was(
    client: Client, whole_stack: Stack, observed: dict[str, Path]
) -> None:
    task = make_task(client, observed)
    process(client, task, "inspect")
    before = {(entry.name, entry.size, entry.modified) for entry in client.files(task)}
    run = client.process(task, ["photometry", "subtraction"]).celery_id
    assert wait_until(lambda: hold(whole_stack, run)), "no external program was seen"
    assert client.cancel(task) == 2
    assert client.state(task).state == "cancelled"
    assert not client.state(task).running
    assert wait_until(lambda: not science_of(whole_stack, run))
    after = {(entry.name, entry.size, entry.modified) for entry in client.files(task)}
    assert after == before
    # The task can be processed again, and the worker that was killed is replaced.
    state, _ = process(client, task, "photometry")
    assert state.state == "photometry_done"


def test_two_replicas_share_the_work_and_lose_none(
    client: Client, observed: dict[str, Path]
) -> None:
    tasks = [make_task(client, observed) for _ in range(4)]
    for task in tasks:
        client.process(task, ["inspect", "photometry"])
    states = [client.wait(task, timeout=HANGS).state for task in tasks]
    assert states == ["photometry_done"] * 4
    workers = {client.runs(task)[0].stages[1].attempts[-1].worker for task in tasks}
    assert len(workers) == 2


def test_the_loss_of_a_replica_in_mid_stage_costs_nothing_but_time(
    client: Client, whole_stack: Stack, observed: dict[str, Path]
) -> None:
    task = make_task(client, observed)
    process(client, task, "inspect")
    run = client.process(task, ["photometry"]).celery_id
    assert wait_until(lambda: science_of(whole_stack, run))
    for role in ("photometry-1", "photometry-2"):
        os.kill(whole_stack.processes[role], signal.SIGKILL)
    state = client.wait(task, timeout=HANGS)
    assert state.state == "photometry_done"
    stages = client.runs(task)[0].stages
    assert [stage.state for stage in stages] == ["done"]
    assert not science_of(whole_stack, run)
