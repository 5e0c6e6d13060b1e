"""Does the whole of Skyrelay come up on one machine, stay up, and leave nothing behind?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dotenv import dotenv_values

from skyrelay.stack import stack as stack_module
from skyrelay.stack.administrator import administrator
from skyrelay.stack.stack import Stack
from tests.support.processes import is_alive, processes_with, wait_until

FEW = {"photometry": 0, "transients": 0, "subtraction": 0, "stacking": 0}


def description_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "stack.json").read_text())
    return content


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), replicas=FEW) as running:
        yield running


def test_the_first_login_opens_the_door(stack: Stack) -> None:
    first = stack.administrator
    answer = requests.post(
        f"{stack.base_url}/api/auth/token/",
        data={"username": first.name, "password": first.password},
        timeout=30,
    )
    assert answer.status_code == 200
    assert answer.json()["token"] == stack.admin_token


def test_an_interrupted_first_start_does_not_lock_everybody_out(stack: Stack) -> None:
    remembered = stack.folder / "admin.json"
    environment = dotenv_values(stack.folder / "settings.env")
    again = administrator(remembered, {**os.environ, **environment}, stack_module.PROJECT)
    assert again == stack.administrator
    # Stopped after the user was made and before anything else was.
    assert json.loads(remembered.read_text())["password"] == again.password


def test_the_command_line_makes_users_with_the_settings_that_the_stack_leaves(stack: Stack) -> None:
    settings = stack.folder / "settings.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    skyrelay = [sys.executable, "-m", "skyrelay.cli", "--settings", str(settings), "user"]
    subprocess.run([*skyrelay, "create", "bob", "--no-password"], check=True)
    token = subprocess.run([*skyrelay, "token", "bob"], check=True, capture_output=True, text=True)
    answer = requests.get(
        f"{stack.base_url}/api/tasks/",
        headers={"Authorization": f"Token {token.stdout.strip()}"},
        timeout=30,
    )
    assert answer.json() == []


def test_scripts_find_the_running_stack_in_a_private_file(stack: Stack) -> None:
    assert stack.description.stat().st_mode & 0o777 == 0o600
    found = description_in(stack.folder)
    assert found["base_url"] == stack.base_url
    assert found["token"] == stack.admin_token
    assert found["amqp_uri"] == stack.amqp_uri
    roles = {entry["role"]: entry["pid"] for entry in found["processes"]}
    assert set(roles) == {"supervisor", "broker", "web", "events", "inspect-1"}
    assert all(is_alive(pid) for pid in roles.values())


@pytest.mark.parametrize("role", ["web", "inspect-1"])
def test_a_process_that_is_killed_is_back_and_scripts_can_tell(stack: Stack, role: str) -> None:
    before = stack.processes[role]
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        roles = {e["role"]: e["pid"] for e in description_in(stack.folder)["processes"]}
        return roles.get(role) not in (None, before)

    assert wait_until(is_back)
    assert not is_alive(before)


def test_a_replica_can_be_added_while_the_stack_runs(stack: Stack) -> None:
    stack.add_replica("inspect")
    described = {process["role"] for process in description_in(stack.folder)["processes"]}
    assert {"inspect-1", "inspect-2"} <= described


def test_a_second_stack_in_the_same_folder_is_refused(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyrelay.stack.process.LOCK_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="in use by another running process"):
        Stack(stack.folder).start()
    assert stack.description.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)]
)
def test_nothing_is_left_of_a_stack_that_is_stopped(
    tmp_path: Path, amqp_uri: str, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "skyrelay.stack", "--folder", str(tmp_path / "var")]
    with subprocess.Popen(
        [*command, "--replicas", "inspect=0 photometry=0 transients=0 subtraction=0"],
        env={**os.environ, "AMQP_URI": amqp_uri},
        stdout=subprocess.DEVNULL,
    ) as supervisor:
        assert wait_until((tmp_path / "var" / "stack.json").exists, 120)
        assert len(processes_with(f"TASKS_PATH={tmp_path}")) > 2
        supervisor.send_signal(number)
        assert supervisor.wait(120) == code
    assert wait_until(lambda: not processes_with(f"TASKS_PATH={tmp_path}"))
    # After a SIGKILL nobody is left who could remove it; the next start does.
    assert (tmp_path / "var" / "stack.json").exists() == (number == signal.SIGKILL)


def test_a_wrong_setting_is_said_in_one_sentence(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "skyrelay.stack", "--folder", str(tmp_path / "var")],
        env={**os.environ, "SKYRELAY_SLOTS": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("The setting SKYRELAY_SLOTS is wrong: ")
    assert answer.stderr.count("\n") == 1


def test_a_stack_that_cannot_come_up_says_which_part_and_leaves_nothing(
    tmp_path: Path, amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "HOPELESS_DEATHS", 1)
    stack = Stack(
        tmp_path / "var",
        replicas={"inspect": 0, **FEW, "no_such_service": 1},
        environment={"AMQP_URI": amqp_uri},
    )
    with pytest.raises(RuntimeError, match=r"^no_such_service-1 does not start; see .*/log/.*\.$"):
        stack.start()
    assert not processes_with(f"TASKS_PATH={tmp_path}")
    assert not (tmp_path / "var" / "stack.json").exists()
