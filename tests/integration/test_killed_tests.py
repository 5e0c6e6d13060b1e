"""What becomes of a session of tests, and of all that it has started, when it is killed?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.keeper import PROJECT
from tests.support.processes import is_alive, wait_until

_TEST = """
import subprocess, time
from pathlib import Path

def test_that_does_not_end():
    pids = [subprocess.Popen(["sleep", "600"], start_new_session=new).pid for new in (False, True)]
    shell = subprocess.run(["sh", "-c", "sleep 600 >/dev/null & echo $!"], stdout=subprocess.PIPE)
    Path("pids.new").write_text(f"{pids[0]} {pids[1]} {int(shell.stdout)}")
    Path("pids.new").rename("pids")
    time.sleep(600)
"""


#: Nothing but what these sessions need: others' plugins take seconds to import.
_ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(PROJECT),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "",
}


def _pytest(folder: Path, plugin: str, *options: str) -> list[str]:
    plugins = ("-p", "xdist.plugin", "-p", "no:cacheprovider", "-p", plugin)
    return [sys.executable, "-m", "pytest", *plugins, *options, "--rootdir", str(folder)]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_a_killed_pytest_has_started_dies_with_it(tmp_path: Path, workers: str) -> None:
    (tmp_path / "test_it.py").write_text(_TEST)
    command = _pytest(tmp_path, "tests.support.left_behind", "-n", workers)
    with (tmp_path / "log").open("wb") as log:
        killed = subprocess.Popen(command, cwd=tmp_path, env=_ENVIRONMENT, stdout=log, stderr=log)
    found = tmp_path / "pids"
    try:
        wait_until(lambda: found.exists() or killed.poll() is not None, 300)
        assert found.exists(), (tmp_path / "log").read_text()
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    pids = [int(pid) for pid in found.read_text().split()]
    assert wait_until(lambda: not any(map(is_alive, pids)))


_CRASH = """
import os, signal
from pathlib import Path

def test_that_kills_its_process_once():
    crashed = Path("crashed")
    if not crashed.exists():
        crashed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_crash_the_other_files_are_still_done(tmp_path: Path) -> None:
    (tmp_path / "test_crash.py").write_text(_CRASH)
    (tmp_path / "test_later.py").write_text("def test_more(): pass")
    options = ("-n", "1", "--dist", "loadfile", "--no-loadscope-reorder")
    done = subprocess.run(
        _pytest(tmp_path, "tests.support.turns", *options),
        cwd=tmp_path,
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "crashed while running 'test_crash.py::test_that_kills_its_process_once'" in done.stdout
    assert "1 failed, 2 passed" in done.stdout and done.returncode == 1
