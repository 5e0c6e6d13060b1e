"""Can a user do everything with tasks at the command line, and a program with the client?"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.followups.indexing import index
from tests.support.gateway import Bench, opened
from tests.support.measured import Field, measured_task
from tests.support.servers import PROJECT, TRIAL, Installation, installation
from tests.support.station import Replica


def _command(site: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skyrelay.cli", "task", *arguments],
        cwd=PROJECT,
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_task_is_made_processed_awaited_and_read_at_the_command_line(
    tmp_path: Path, amqp_uri: str
) -> None:
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    image = tmp_path / "m51.fits"
    image.write_bytes(b"image")
    with installation(tmp_path, url, amqp_uri, **TRIAL) as site, ExitStack() as ends:
        site.events()
        _, address = site.web()
        site.environment |= {"SKYRELAY_URL": address, "SKYRELAY_TOKEN": site.user("alice")}
        replica = Replica(site.environment, tmp_path / "replica.log")
        ends.callback(replica.end)
        made = _command(site, "create", str(image), "--title", "M 51", "--step", "trial")
        number = made.stdout.strip()
        assert number == "1", made.stderr
        waited = _command(site, "wait", number)
        assert (waited.returncode, waited.stdout) == (0, "trial_done\n"), waited.stderr
        assert "product.txt" in _command(site, "files", number).stdout
        assert _command(site, "log", number, "trial", "--follow").returncode == 0
        _command(site, "download", number, "product.txt", str(tmp_path))
        assert (tmp_path / "product.txt").read_text() == "product"
        assert "M 51" in _command(site, "list").stdout
        assert _command(site, "process", number, "trial").returncode == 0
        assert _command(site, "wait", number).returncode == 0
        site.client(address, "alice").process(1, ["trial"], {"trial": {"seconds": 60}})
        assert _command(site, "wait", number, "--timeout", "0.1", "--quiet").returncode == 2
        assert "Stopped" in _command(site, "cancel", number).stderr
        assert _command(site, "wait", number).returncode == 1
        assert json.loads(_command(site, "state", number).stdout)["state"] == "cancelled"
        assert _command(site, "list", "--at", "10 20", "--radius", "1").stdout.strip()[:2] == "id"
        refused = _command(site, "act", "delete", number, "99")
        assert (refused.returncode, refused.stderr) == (1, "99: Not found.\n")
        gone = _command(site, "state", number)
        assert (gone.returncode, gone.stderr) == (1, "Error: Not found.\n")


def test_results_are_read_at_the_command_line_and_by_the_client(
    tmp_path: Path, amqp_uri: str
) -> None:
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    seen = Field(targets=[(10, 20, 17.0)], candidates=[(10.1, 20.1, 18.0)])
    with (
        opened(tmp_path, url) as gateway,
        installation(tmp_path, url, amqp_uri) as site,
    ):
        bench = Bench(gateway)
        alice = bench.caller("alice")
        task = measured_task(bench, alice, seen)
        index(gateway)
        bench.close()
        _, address = site.web()
        site.environment |= {"SKYRELAY_URL": address, "SKYRELAY_TOKEN": alice.token}
        shown = _command(site, "results", str(task)).stdout
        assert "zero point: 27.500 ± 0.010" in shown
        assert "18.0000" in shown
        client = site.client(address, "alice")
        assert client.results(task).candidates[0]["mag"] == 18.0
        assert [row["mag"] for row in client.all_results("targets", filter="r")] == [17.0]
        (point,) = client.light_curve(10, 20)
        assert (point.mag, point.source, point.detected) == (17.0, "targets", True)
        assert client.table("lightcurve/", "csv", ra=10, dec=20).startswith(b"time,filter")
        assert [each["id"] for each in client.covering(10, 20)] == [task]
        assert "target.vot" in {each["path"] for each in client.provenance(task)}
        with pytest.raises(Exception, match="No file is named"):
            client.create_batch(folder="")
        hook = client.create_webhook("https://example.org/hook", ["run.done"])
        assert hook.secret and [each.id for each in client.webhooks()] == [hook.id]
        client.delete_webhook(hook.id)
