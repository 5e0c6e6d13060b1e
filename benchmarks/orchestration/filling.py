"""How are very many runs started in minutes? By the functions behind the API, many at a time."""

from __future__ import annotations

from collections.abc import Iterator

from dotenv import dotenv_values

from benchmarks.orchestration.relay.stages import FIRST
from gateway.accounts import find_user
from gateway.core import Gateway, open_gateway
from gateway.models import Task
from gateway.orchestration import runs
from skyrelay.settings import Settings
from skyrelay.stack.stack import Stack

#: Runs started in one transaction: others must not wait for long.
CHUNK = 100


def fill(stack: Stack, tasks: int) -> Iterator[int]:
    """Make tasks with a run of the first leg each; yields how many there are so far."""
    gateway = open_gateway(_settings_of(stack))
    try:
        # What is committed here is published here, as in a web process.
        gateway.outbox.start()
        for made in range(0, tasks, CHUNK):
            count = min(CHUNK, tasks - made)
            _start(gateway, stack.administrator.name, count)
            yield made + count
    finally:
        gateway.close()


def _start(gateway: Gateway, owner: str, count: int) -> None:
    with gateway.database.writing() as session:
        user = find_user(session, owner)
        assert user is not None
        added = [
            Task(original_name="nothing.fits", user=user, config={}, reasons=[])
            for _ in range(count)
        ]
        session.add_all(added)
        session.flush()
        for task in added:
            gateway.store.create(task.id)
            runs.start(gateway, session, task, [FIRST.step], {}, user.id)


def _settings_of(stack: Stack) -> Settings:
    values = dotenv_values(stack.folder / "settings.env")
    return Settings.model_validate({name.lower(): value for name, value in values.items()})
