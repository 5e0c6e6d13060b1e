"""Does a guarded command die when it must, whole, and live on when it should?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skyrelay.stack.process import GuardedProcess
from skyrelay.stack.supervisor import Command, Supervised
from tests.support.processes import is_alive, wait_until

#: A command with a child that has left its session and process group, as daemons do.
WITH_A_DAEMON = """
import os, subprocess, sys, time
daemon = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True)
open(sys.argv[1], "w").write(f"{os.getpid()} {daemon.pid}\\n")
time.sleep(600)
"""

DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write("deaf\\n")
time.sleep(600)
"""

OBEDIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
open(sys.argv[1], "w").write("ready\\n")
time.sleep(600)
"""

#: Starts the command given below a guard, and waits for ever.
OWNER = """
import sys, time
from pathlib import Path
from skyrelay.stack.process import GuardedProcess
process = GuardedProcess(sys.argv[2:], log=Path(sys.argv[1]))
time.sleep(600)
"""


def python(code: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def line_in(path: Path) -> str:
    assert wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text()


def test_a_stopped_command_ends_in_its_own_way(tmp_path: Path) -> None:
    process = GuardedProcess(python(OBEDIENT, tmp_path / "ready"), log=tmp_path / "log")
    line_in(tmp_path / "ready")
    process.stop(grace=60)
    assert process.exit_code == 7


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = GuardedProcess(python(DEAF, tmp_path / "ready"), log=tmp_path / "log")
    line_in(tmp_path / "ready")
    process.stop(grace=0.2)
    assert not process.running
    assert not is_alive(process.pid)


def test_daemons_of_a_command_die_with_it(tmp_path: Path) -> None:
    process = GuardedProcess(python(WITH_A_DAEMON, tmp_path / "pids"), log=tmp_path / "log")
    line_in(tmp_path / "pids")
    assert wait_until(lambda: len(process.members()) == 3)
    members = process.members()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == 128 + signal.SIGKILL
    assert not [pid for pid in members if is_alive(pid)]


def test_everything_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    command = python(WITH_A_DAEMON, tmp_path / "pids")
    with subprocess.Popen(python(OWNER, tmp_path / "log", *command)) as owner:
        pids = [int(pid) for pid in line_in(tmp_path / "pids").split()]
        assert all(is_alive(pid) for pid in pids)
        owner.kill()
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_the_command_dies_with_a_guard_that_is_killed(tmp_path: Path) -> None:
    process = GuardedProcess(python(OBEDIENT, tmp_path / "ready"), log=tmp_path / "log")
    line_in(tmp_path / "ready")
    guard = int(Path("/proc", str(process.pid), "stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(process.pid))
    process.kill()


def test_orphans_that_end_do_not_stay_as_zombies(tmp_path: Path) -> None:
    orphan = "import subprocess; subprocess.Popen(['sh', '-c', 'sleep 0.2 & echo $! > ' + {0!r}])"
    process = GuardedProcess(
        python(orphan.format(str(tmp_path / "pid")) + "; import time; time.sleep(600)"),
        log=tmp_path / "log",
    )
    pid = int(line_in(tmp_path / "pid"))
    assert wait_until(lambda: not Path("/proc", str(pid)).exists())
    process.kill()


def test_a_missing_command_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^Cannot start no-such-command; .*\.$"):
        GuardedProcess(["no-such-command"], log=tmp_path / "log")
    assert "Cannot start no-such-command" in (tmp_path / "log").read_text()


def test_a_server_that_dies_is_started_again_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    server = Command(["sleep", "600"], tmp_path / "log", os.environ)
    supervised = Supervised("sleeper", server, say=said.append)
    supervised.start()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: server.pid not in (None, first))
    second = server.pid
    supervised.stop(grace=60)
    assert said == ["sleeper ended (signal 9); starting it again in 0.5 s."]
    assert second is not None and not is_alive(second)
    assert supervised.deaths == 1


def test_a_server_that_is_stopped_between_two_starts_stays_down(tmp_path: Path) -> None:
    said: list[str] = []
    server = Command(["false"], tmp_path / "log", os.environ)
    supervised = Supervised("failing", server, say=said.append)
    supervised.start()
    assert wait_until(lambda: said)
    supervised.stop(grace=60)
    assert said[0] == "failing ended (exit code 1); starting it again in 0.5 s."
    assert server.pid is None
