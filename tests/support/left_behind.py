"""How do the tests see to it that no process outlives them?

A pytest plugin: a fixture that all sessions have.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.keeper import keeper
from tests.support.processes import processes_with, wait_until

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

        def others() -> dict[int, str]:
            return {p: command for p, command in processes_with(mark).items() if p != os.getpid()}

        # Those whom a guard kills may not have ended yet.
        wait_until(lambda: not others(), 30.0)
        left = others()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        kept.communicate(b"done\n")
    assert not left, f"processes left behind (and killed now): {left}"
