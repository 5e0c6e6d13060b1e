"""How do the tests see to it that no process outlives them?

A pytest plugin: a fixture that all sessions have.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.support.keeper import keeper
from tests.support.processes import processes_with

#: Inherited by every process that the tests start, however it detaches itself.
SESSION_VARIABLE = "SKYRELAY_TEST_SESSION"


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left_behind() -> Iterator[None]:
    """Fail the session when a process that some test started outlives all tests.

    When pytest itself is killed, nobody is there to fail, and a keeper ends what is left.
    """
    session = secrets.token_hex(8)
    mark = f"{SESSION_VARIABLE}={session}"
    with keeper(mark) as kept:
        os.environ[SESSION_VARIABLE] = session
        yield
        left = processes_with(mark)
        left.pop(os.getpid(), None)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        kept.communicate(b"done\n")
    assert not left, f"processes left behind (and killed now): {left}"
