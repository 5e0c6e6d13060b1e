"""Is somebody told when a process has died: by the real Prometheus and the real Alertmanager?"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observation import look
from skyrelay.stack.ports import LOOPBACK, free_ports
from tests.support.processes import wait_until
from tests.support.receiver import Receiver, receiving
from tests.support.servers import PROJECT

FOLDER = PROJECT / "deploy/observation"
RUNBOOKS = "https://pages.example.org/alerts"
#: The alert that always fires.
HEARTBEAT = "SkyrelayHeartbeat"


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed: `make setup-dev` brings it"
    return found


@contextmanager
def running(command: Sequence[str], folder: Path, **environment: str) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def alertmanager(folder: Path, port: int, **environment: str) -> Any:
    """Started as in the Compose file."""
    command = ["/bin/sh", str(FOLDER / "alertmanager-start"), program("prometheus-alertmanager")]
    options = [f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address="]
    options.append(f"--web.listen-address={LOOPBACK}:{port}")
    return running([*command, *options], folder, TMPDIR=str(folder), **environment)


def alert_rules() -> list[dict[str, Any]]:
    """All alert rules."""
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def prometheus(folder: Path, port: int, alertmanager: int, dead: int) -> Any:
    """With our configuration, except that it is quick and looks at one process, which is dead."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(folder / "alerts.yml")]
    (to,) = config["alerting"]["alertmanagers"]
    to["static_configs"] = [{"targets": [f"{LOOPBACK}:{alertmanager}"]}]
    rabbitmq = next(job for job in config["scrape_configs"] if job["job_name"] == "rabbitmq")
    rabbitmq["static_configs"][0]["targets"] = [f"{LOOPBACK}:{dead}"]
    config["scrape_configs"] = [rabbitmq]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["for"] = "0s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'prometheus'}"]
    command += [f"--web.listen-address={LOOPBACK}:{port}"]
    # What version 3, the Compose file's, does by itself.
    command += ["--enable-feature=expand-external-labels"]
    # What it would tell before it knows of the Alertmanager is told again after this.
    command += ["--rules.alert.resend-delay=5s"]
    return running(command, folder, SKYRELAY_RUNBOOKS=RUNBOOKS)


def told(receiver: Receiver) -> dict[str, Any]:
    """The alerts that have arrived there, by their names."""
    alerts = [alert for call in receiver.calls for alert in call.body["alerts"]]
    return {alert["labels"]["alertname"]: alert for alert in alerts}


def test_a_process_that_has_died_is_told_to_who_is_named_in_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours, dead = free_ports(3)
    with (
        receiving() as somebody,
        receiving() as heartbeat,
        alertmanager(
            tmp_path,
            theirs,
            SKYRELAY_ALERT_WEBHOOK=somebody.url,
            SKYRELAY_ALERT_HEARTBEAT=heartbeat.url,
        ),
        prometheus(tmp_path, ours, theirs, dead),
    ):
        log = tmp_path / "log"
        assert wait_until(lambda: "SkyrelayProcessDown" in told(somebody)), log.read_text()
        assert wait_until(lambda: told(heartbeat).keys() == {HEARTBEAT}), log.read_text()
        assert HEARTBEAT not in told(somebody)
        alert = told(somebody)["SkyrelayProcessDown"]
        at = look.Prometheus(f"http://{LOOPBACK}:{ours}")
        assert wait_until(lambda: not list(look.rules(at)))
    said = capsys.readouterr().out
    assert "firing: SkyrelayProcessDown" in said
    assert HEARTBEAT not in said
    assert alert["labels"] == {
        "alertname": "SkyrelayProcessDown",
        "job": "rabbitmq",
        "instance": f"{LOOPBACK}:{dead}",
        "system": "skyrelay",
        "severity": "critical",
    }
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS}/process-down.md"


@pytest.mark.parametrize(
    "receivers",
    [
        {},
        {
            "SKYRELAY_ALERT_WEBHOOK": "https://example.org/it's?a=b",
            "SKYRELAY_ALERT_MAIL": "a@example.org, b@example.org",
            "SKYRELAY_ALERT_MAIL_FROM": "skyrelay@example.org",
            "SKYRELAY_ALERT_SMTP": "mail.example.org:587",
            "SKYRELAY_ALERT_SMTP_USER": "skyrelay",
            "SKYRELAY_ALERT_SMTP_PASSWORD": "it's: #secret",
            "SKYRELAY_ALERT_HEARTBEAT": "https://example.org/beats?it's=me",
        },
    ],
    ids=["nobody", "all"],
)
def test_the_receivers_of_the_environment_become_a_valid_configuration(
    receivers: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        ["/bin/sh", str(FOLDER / "alertmanager-start"), "true"],
        env=os.environ | receivers | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("NOBODY IS TOLD" in done.stderr) == (not receivers)
    assert ("NOBODY NOTICES" in done.stderr) == (not receivers)
    file = tmp_path / "alertmanager.yml"
    subprocess.run([program("amtool"), "check-config", file], check=True, capture_output=True)
    found = {each["name"]: each for each in yaml.safe_load(file.read_text())["receivers"]}
    somebody, heartbeat = found["somebody"], found["heartbeat"]
    hooks, mails = somebody.get("webhook_configs", []), somebody.get("email_configs", [])
    assert [hook["url"] for hook in hooks] == list(receivers.values())[:1]
    assert [mail["auth_password"] for mail in mails] == list(receivers.values())[5:6]
    beats = heartbeat.get("webhook_configs", [])
    assert [hook["url"] for hook in beats] == list(receivers.values())[6:]
    # An end of the beats must not be one more of them.
    assert not any(hook["send_resolved"] for hook in beats)
    assert "email_configs" not in heartbeat
    for rule in alert_rules():
        name, severity = rule["alert"], rule["labels"]["severity"]
        to = "heartbeat" if severity == "none" else "somebody"
        route = [program("amtool"), "config", "routes", "test", f"--config.file={file}"]
        subprocess.run(
            [*route, f"--verify.receivers={to}", f"alertname={name}", f"severity={severity}"],
            check=True,
            capture_output=True,
        )
