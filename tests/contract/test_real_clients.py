"""Do curl and requests, over a real connection, get what STDWeb's documents promise them?

The web server is a process of its own; the test plays the stages beside it, on the same database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from astropy.io import fits

from tests.support.gateway import PASSWORD, Bench, add_user, opened
from tests.support.processes import children_of, command_of, wait_until
from tests.support.servers import Server, installation

#: Nobody listens there: what is to be published waits for the test.
_NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass
class Site:
    """A running web server, its database, and an image to send there."""

    url: str
    server: Server
    bench: Bench
    image: Path

    def curl(self, *arguments: str) -> bytes:
        """What curl prints for a request to a path below ``/api/``, the last argument."""
        *options, path = arguments
        command = ["curl", "--silent", "--show-error", *options, f"{self.url}/api/{path}"]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    def work(self) -> None:
        """Let the stages do all that waits, until nothing does."""
        while commands := self.bench.commands():
            for command in commands:
                news = self.bench.finished(command, product=f"{command.step}.txt")
                self.bench.hear(self.bench.started(command), news)


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    image = tmp_path / "observation.fits"
    pixels = np.random.default_rng(1).normal(100, 5, (64, 64)).astype(np.float32)
    fits.writeto(image, pixels)
    with (
        opened(tmp_path, database_url) as gateway,
        installation(tmp_path, database_url, _NO_BROKER, skyrelay_renderers=1) as made,
    ):
        add_user(gateway, "alice")
        server, url = made.web()
        bench = Bench(gateway)
        yield Site(url, server, bench, image)
        bench.close()


def test_the_documented_curl_calls_over_a_real_connection(site: Site, tmp_path: Path) -> None:
    login = site.curl("-X", "POST", "-d", f"username=alice&password={PASSWORD}", "auth/token/")
    token = ["-H", f"Authorization: Token {json.loads(login)['token']}"]
    form = ["-F", f"file=@{site.image}", "-F", 'config={"filter":"R","cat_name":"ps1"}']
    made = json.loads(site.curl("-X", "POST", *token, *form, "tasks/"))
    task = made["id"]
    assert made["original_name"] == "observation.fits"
    assert made["config"] == {"filter": "R", "cat_name": "ps1"}
    body = ["-H", "Content-Type: application/json", "-d", '{"steps":["inspect","photometry"]}']
    begun = json.loads(site.curl("-X", "POST", *token, *body, f"tasks/{task}/process/"))
    assert begun["state"] == "running" and begun["steps"] == ["inspect", "photometry"]
    again = site.curl("-X", "POST", *token, *body, f"tasks/{task}/process/")
    assert json.loads(again) == {"error": "Task is already processing"}
    site.work()
    state = json.loads(site.curl(*token, f"tasks/{task}/state/"))
    assert (state["state"], state["celery_id"]) == ("photometry_done", None)
    # GET without its final slash, with and without curl's following of redirects.
    for options in ([], ["-L"]):
        found = json.loads(site.curl(*options, *token, f"tasks/{task}"))
        assert found["path"] == str(task)
    mask = ["-X", "POST", *token, "-F", f"file=@{site.image}"]
    stored = json.loads(site.curl(*mask, f"tasks/{task}/files/custom_mask.fits"))
    assert stored == {"path": "custom_mask.fits", "size": site.image.stat().st_size}
    assert site.curl(*token, f"tasks/{task}/files/custom_mask.fits") == site.image.read_bytes()
    tail = site.curl(*token, "-r", "2880-", f"tasks/{task}/files/image.fits")
    assert tail == site.image.read_bytes()[2880:]
    picture = site.curl(*token, f"tasks/{task}/preview/image.fits?width=1024&stretch=log")
    assert picture.startswith(b"\xff\xd8\xff")
    status = ["-o", "/dev/null", "-w", "%{http_code}"]
    gone = site.curl("-X", "DELETE", *token, *status, f"tasks/{task}/")
    assert gone == b"204"
    assert json.loads(site.curl(*token, f"tasks/{task}/")) == {"detail": "Not found."}


def test_the_documented_stacking_over_a_real_connection(site: Site) -> None:
    data = site.bench.gateway.settings.data_path
    names = [f"{data}/img_00{number}.fits" for number in range(2)]
    for name in names:
        Path(name).write_bytes(site.image.read_bytes())
    login = site.curl("-d", f"username=alice&password={PASSWORD}", "auth/token/")
    options = ["-H", f"Authorization: Token {json.loads(login)['token']}"]
    options += ["-H", "Content-Type: application/json"]
    config = {"stack_filenames": names, "stack_method": "clipped_mean"}
    # As it is documented, without a name; STDWeb refuses that, too.
    nameless = json.dumps({"title": "My stack", "config": config})
    refused = json.loads(site.curl("-X", "POST", *options, "-d", nameless, "tasks/"))
    assert list(refused) == ["original_name"]
    named = json.dumps({"title": "My stack", "original_name": "stack.fits", "config": config})
    task = json.loads(site.curl("-X", "POST", *options, "-d", named, "tasks/"))["id"]
    own = f"{site.bench.gateway.settings.tasks_path}/{task}/image.fits"
    steps = json.dumps({"steps": ["stack"], "config": {"stack_filenames": [names[0], own]}})
    begun = json.loads(site.curl("-X", "POST", *options, "-d", steps, f"tasks/{task}/process/"))
    assert begun["state"] == "running"


class _Documented:
    """STDWeb's documented helper, re-created from its description."""

    def __init__(self, url: str, name: str, password: str) -> None:
        self.url = f"{url}/api"
        self.session = requests.Session()
        login = {"username": name, "password": password}
        token = self.call("POST", "auth/token/", data=login).json()["token"]
        self.session.headers["Authorization"] = f"Token {token}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, f"{self.url}/{path}", timeout=60, **options)

    def create_task(self, file: Path, config: Any) -> requests.Response:
        with file.open("rb") as content:
            return self.call("POST", "tasks/", files={"file": content}, data={"config": config})


def test_the_documented_python_client_over_a_real_connection(site: Site) -> None:
    client = _Documented(site.url, "alice", PASSWORD)
    try:
        refused = client.create_task(site.image, str({"target": "M51", "use_color": True}))
        assert refused.status_code == 400 and "double quotes" in refused.json()["config"][0]
        made = client.create_task(site.image, json.dumps({"target": "M51"}))
        assert made.status_code == 201
        task = made.json()["id"]
        steps = {"steps": ["inspect", "subtraction"], "config": {"sn": 3}}
        assert client.call("POST", f"tasks/{task}/process/", json=steps).status_code == 200
        site.work()
        state = client.call("GET", f"tasks/{task}/state/").json()
        assert state["state"] == "subtraction_done"
        names = [each["name"] for each in client.call("GET", f"tasks/{task}/files/").json()]
        assert {"image.fits", "inspect.txt", "subtraction.txt"} <= set(names)
        file = client.call("GET", f"tasks/{task}/files/image.fits", stream=True)
        assert b"".join(file.iter_content(1000)) == site.image.read_bytes()
        assert "filename=image.fits" in file.headers["Content-Disposition"]
        copy = client.call("POST", f"tasks/{task}/duplicate/")
        assert (copy.status_code, copy.json()["title"]) == (201, "(copy)")
    finally:
        client.session.close()


@pytest.mark.parametrize("killed", [False, True])
def test_each_web_process_has_one_renderer_before_anybody_asks(site: Site, killed: bool) -> None:
    (worker,) = children_of(site.server.pid)

    def renderers() -> list[int]:
        return [each for each in children_of(worker) if "gateway.preview" in command_of(each)]

    assert wait_until(lambda: len(renderers()) == 1)
    before = renderers()
    client = _Documented(site.url, "alice", PASSWORD)
    task = client.create_task(site.image, "{}").json()["id"]
    assert client.call("GET", f"tasks/{task}/preview/image.fits").status_code == 200
    client.session.close()
    assert renderers() == before
    if killed:
        os.kill(site.server.pid, signal.SIGKILL)
    else:
        site.server.stop()
    assert wait_until(lambda: not any(command_of(each) for each in before))
