"""Does `skyrelay doctor` see what is wrong with an installation, and say what to do?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.processes import wait_until
from tests.support.servers import PROJECT, TRIAL, installation


def doctor(environment: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Its exit code, and what it says about each thing."""
    done = subprocess.run(
        [sys.executable, "-m", "skyrelay.cli", "doctor"],
        cwd=PROJECT,
        env=environment | {"SKYRELAY_OFFLINE": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    said = {text.partition(":")[0]: f"{health} {text.partition(': ')[2]}" for health, text in lines}
    return done.returncode, said


def test_an_installation_that_is_well_is_said_to_be(tmp_path: Path, amqp_uri: str) -> None:
    with installation(tmp_path, f"sqlite:///{tmp_path / 'g.db'}", amqp_uri, **TRIAL) as place:
        (tmp_path / "tasks").mkdir()
        events = place.events()
        assert wait_until(lambda: "listening" in events.log.read_text())
        assert wait_until(lambda: doctor(place.environment)[0] == 0), doctor(place.environment)
        _, said = doctor(place.environment)
        assert said["broker"].startswith("ok RabbitMQ 3.")
        assert said["queues"].startswith("ok all ")
        assert said["database"].startswith("ok sqlite")
        assert said["store"].startswith("ok ")
        assert said["source-extractor"].startswith("ok Source Extractor version 2.")
        assert said["sky"] == "note nobody is asked (SKYRELAY_OFFLINE)"


def test_what_is_wrong_is_named_with_its_remedy(tmp_path: Path, amqp_uri: str) -> None:
    environment = {
        **os.environ,
        "AMQP_URI": "amqp://guest:guest@127.0.0.1:1/%2F",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}",
        "TASKS_PATH": "/proc",
        "STDPIPE_SCAMP": "/nowhere/scamp",
    }
    code, said = doctor(environment)
    assert code == 1
    assert said["broker"].startswith("MEND it does not answer")
    assert said["broker"].endswith("look at AMQP_URI")
    assert said["database"].endswith("`python -m gateway migrate`")
    assert said["store"].startswith("MEND ")
    assert said["scamp"].startswith("MEND not found")
    code, said = doctor(environment | {"AMQP_URI": amqp_uri})
    assert said["queues"].endswith("start the gateway, which makes the queues")
