"""Does `skyrelay doctor` see what is wrong with an installation, and say what to do?"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from kombu import Queue

from skyrelay.broker import topology
from skyrelay.broker.connection import connect, using
from skyrelay.broker.publisher import declare_topology
from skyrelay.messages import Lane
from skyrelay.stack.broker_node import BrokerNode
from skyrelay.stack.ports import LOOPBACK
from tests.support.processes import wait_until
from tests.support.s3 import BUCKET, s3_server
from tests.support.servers import PROJECT, TRIAL, installation


def doctor(
    environment: Mapping[str, str], *arguments: str, offline: bool = True
) -> tuple[int, dict[str, str]]:
    """Its exit code, and what it says about each thing."""
    done = subprocess.run(
        [sys.executable, "-m", "skyrelay.cli", "doctor", *arguments],
        cwd=PROJECT,
        env={**environment, "SKYRELAY_OFFLINE": str(offline).lower()},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    said = {text.partition(":")[0]: f"{health} {text.partition(': ')[2]}" for health, text in lines}
    return done.returncode, said


def test_an_installation_that_is_well_is_said_to_be(
    tmp_path: Path, amqp_uri: str, database_url: str
) -> None:
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as place:
        (tmp_path / "tasks").mkdir()
        events = place.events()
        assert wait_until(lambda: "listening" in events.log.read_text())
        assert wait_until(lambda: doctor(place.environment)[0] == 0), doctor(place.environment)
        _, said = doctor(place.environment)
        assert said["broker"].startswith("ok RabbitMQ 3.")
        assert said["queues"].startswith("ok all ")
        assert said["bindings"] == "ok exchanges, arguments and bindings are ours"
        assert said["alarms"] == "ok what is published is taken"
        # RabbitMQ of Debian 12 is older than the queues' own argument.
        assert said["consumer_timeout"].startswith("note ")
        kind = database_url.partition(":")[0]
        assert said["database"].startswith(f"ok {kind}") and ", revision 00" in said["database"]
        if kind == "sqlite":
            assert said["clock"] == "note there is nobody to compare it with"
        else:
            assert said["clock"] == "ok as that of the database"
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
    assert ", revision none and not 00" in said["database"]
    assert said["database"].endswith("`python -m gateway migrate`")
    assert said["store"].startswith("MEND ")
    assert said["scamp"].startswith("MEND not found")
    code, said = doctor(environment | {"AMQP_URI": amqp_uri})
    assert said["queues"].endswith("start the gateway, which makes exchanges and queues")


def test_a_program_that_stages_need_is_missed_where_they_run(tmp_path: Path) -> None:
    environment = _alone(tmp_path) | {"PATH": str(tmp_path)}
    _, said = doctor(environment)
    # The packages of the science are here.
    assert said["source-extractor"].startswith("MEND not found")
    assert "hotpants" not in said


def test_a_program_that_does_not_run_is_to_be_mended(tmp_path: Path) -> None:
    contents = {
        "sextractor": b"no program",
        "scamp": re.sub(rb"GLIBC_2\b", b"GLIBC_9", _executable("scamp")),
        "psfex": _executable("psfex").replace(b"libc.so.6", b"libc.so.9"),
        "swarp": b"#!/bin/sh\necho SWarp 2.41.5\nkill -SEGV $$\n",
    }
    environment = _alone(tmp_path)
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o755)
        environment[f"STDPIPE_{name.upper()}"] = str(path)
    _, said = doctor(environment)
    assert said["source-extractor"].startswith("MEND it does not run ([Errno 8] Exec format error")
    assert said["scamp"].startswith("MEND it does not run (") and "GLIBC_9." in said["scamp"]
    assert said["psfex"].startswith("MEND it does not run (") and "libc.so.9" in said["psfex"]
    assert said["SWarp"].startswith("MEND it does not run (")
    assert said["SWarp"].endswith("; install it anew, or name another in STDPIPE_SWARP")


def _executable(name: str) -> bytes:
    path = shutil.which(name)
    assert path is not None
    return Path(path).read_bytes()


def test_a_folder_that_is_no_store_of_tasks_is_named(tmp_path: Path) -> None:
    _, said = doctor(_alone(tmp_path))
    assert said["store"].startswith("MEND there is no store of tasks in")
    assert said["store"].endswith("; mount it, or start the gateway")


def test_what_the_broker_has_otherwise_or_not_is_seen(tmp_path: Path, amqp_uri: str) -> None:
    environment = _alone(tmp_path) | {"AMQP_URI": amqp_uri}
    declare_topology(amqp_uri)
    with using(connect(amqp_uri, "test")) as connection:
        topology.CANDIDATES(connection.default_channel).delete()
        _, said = doctor(environment)
        assert "MEND" in said["queues"] and "skyrelay.candidates" in said["queues"]
        topology.declare(connection)
        stage = environment | {"SKYRELAY_DECLARE_TOPOLOGY": "false"}
        assert doctor(stage)[1]["bindings"].startswith("note ")
        name = topology.gateway_progress().name
        Queue(name)(connection.default_channel).delete()
        Queue(name, durable=False)(connection.default_channel).declare()
        _, said = doctor(environment)
        assert "MEND" in said["queues"] and "other properties" in said["queues"]


def test_messages_that_nobody_takes_are_to_be_mended(tmp_path: Path, amqp_uri: str) -> None:
    environment = _alone(tmp_path) | {"AMQP_URI": amqp_uri}
    declare_topology(amqp_uri)
    inspect, large = topology.work_queue("inspect"), topology.work_queue("photometry", Lane.LARGE)
    _, said = doctor(environment)
    assert inspect.name not in said and large.name not in said
    with connect(amqp_uri, "test", confirms=True) as connection:
        for key in ("inspect", "inspect", topology.in_lane("photometry", Lane.LARGE)):
            connection.Producer().publish("{}", exchange=topology.WORK.name, routing_key=key)
        code, said = doctor(environment)
        assert code == 1
        assert said[inspect.name].startswith("MEND 2 wait and nobody takes them")
        assert said[large.name].startswith("MEND 1 wait and nobody takes them")
        assert said[large.name].endswith("SKYRELAY_LANE=large")
        with connection.channel() as channel:
            channel.basic_qos(0, 1, False)
            channel.basic_consume(inspect.name)
            assert inspect.name not in doctor(environment)[1]


def test_an_alarm_of_the_broker_is_seen(tmp_path: Path, amqp_uri: str, broker: BrokerNode) -> None:
    environment = _alone(tmp_path) | {"AMQP_URI": amqp_uri}
    declare_topology(amqp_uri)
    broker.evaluate(f"ok = rabbit_disk_monitor:set_disk_free_limit({10**18}).")
    try:
        assert wait_until(lambda: doctor(environment)[1]["alarms"].startswith("MEND "))
    finally:
        broker.evaluate(f"ok = rabbit_disk_monitor:set_disk_free_limit({50 * 10**6}).")
    assert wait_until(lambda: doctor(environment)[1]["alarms"].startswith("ok "))


def test_what_a_user_of_the_broker_may_not_do_is_named(
    tmp_path: Path, amqp_uri: str, broker: BrokerNode
) -> None:
    declare_topology(amqp_uri)
    name, vhost = f"poor-{secrets.token_hex(4)}", amqp_uri.rpartition("/")[2]
    user, nothing = f'<<"{name}">>', '<<"^$">>'
    broker.evaluate(
        f'ok = rabbit_auth_backend_internal:add_user({user}, <<"x">>, <<"test">>), '
        "ok = rabbit_auth_backend_internal:set_permissions("
        f'{user}, <<"{vhost}">>, {nothing}, {nothing}, {nothing}, <<"test">>).'
    )
    address = f"amqp://{name}:x@{amqp_uri.rpartition('@')[2]}"
    _, said = doctor(_alone(tmp_path) | {"AMQP_URI": address})
    assert said["bindings"].startswith("MEND ") and "ACCESS_REFUSED" in said["bindings"]
    assert "SKYRELAY_DECLARE_TOPOLOGY=false" in said["bindings"]
    assert said["alarms"].startswith("note not to be seen from here")
    assert said["store"].startswith("MEND ")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of tasks in S3."""
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as server:
        yield server.environment() | {"TASKS_URL": f"s3://{BUCKET}/doctor"}


def test_conditional_writes_and_parts_are_tried(tmp_path: Path, bucket: dict[str, str]) -> None:
    _, said = doctor(_alone(tmp_path) | bucket)
    assert said["bucket"] == f"ok s3://{BUCKET}/doctor, with conditional writes and parts"
    assert said["clock"] == "ok as that of S3"
    assert list((tmp_path / "tasks").iterdir()) == []


def test_a_bucket_that_lets_two_write_at_once_is_not_good_enough(
    tmp_path: Path, bucket: dict[str, str]
) -> None:
    with _between(bucket["AWS_ENDPOINT_URL"], without="If-None-Match") as address:
        code, said = doctor(_alone(tmp_path) | bucket | {"AWS_ENDPOINT_URL": address})
    assert code == 1
    assert "the server does not keep If-None-Match" in said["bucket"]


def test_a_clock_that_is_wrong_is_seen_by_that_of_s3(
    tmp_path: Path, bucket: dict[str, str]
) -> None:
    with _between(bucket["AWS_ENDPOINT_URL"], ahead=timedelta(hours=1)) as address:
        code, said = doctor(_alone(tmp_path) | bucket | {"AWS_ENDPOINT_URL": address})
    assert code == 1
    assert said["clock"].startswith("MEND -3") and "from that of S3" in said["clock"]


def test_a_sky_service_that_says_it_is_not_well_is_not_said_to_be(tmp_path: Path) -> None:
    answers = {"vizier": 503, "xmatch": 400, "skybot": 404}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(answers.get(handler.path.strip("/"), 200))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with _serving(answer) as address:
        names = ("vizier", "xmatch", "skybot", "sesame", "transients", "hips2fits", "ps1")
        urls = {
            f"SKYRELAY_{name.upper()}_URLS": f"{address}/{name}"
            for name in (*names, "legacy_survey")
        }
        urls["SKYRELAY_VIZIER_URLS"] += f",{address}/vizier"
        environment = _alone(tmp_path) | urls | {"NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}
        _, said = doctor(environment, offline=False)
        assert said["VizieR"].startswith("note ") and said["VizieR"].count("says 503") == 2
        assert said["CDS XMatch"] == f"ok {address}/xmatch"
        assert "says 404" in said["SkyBoT"]
        assert said["Sesame"] == f"ok {address}/sesame"
        assert said["clock"] == "ok as that of a sky service"
        _, said = doctor(environment, "--no-sky", offline=False)
        assert "VizieR" not in said and said["clock"].startswith("note ")


def _alone(folder: Path) -> dict[str, str]:
    """The settings of an installation that has nothing but a folder."""
    (folder / "tasks").mkdir(exist_ok=True)
    return {
        **os.environ,
        "AMQP_URI": "amqp://guest:guest@127.0.0.1:1/%2F",
        "DATABASE_URL": f"sqlite:///{folder / 'none.db'}",
        "TASKS_PATH": str(folder / "tasks"),
    }


@contextmanager
def _serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A web server that answers so; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _between(target: str, without: str = "", ahead: timedelta = timedelta()) -> Iterator[str]:
    """A server that does not know one header, or whose clock is ahead of ours."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        size = int(handler.headers.get("Content-Length", 0))
        headers = {name: value for name, value in handler.headers.items() if name != without}
        found = requests.request(
            handler.command,
            target + handler.path,
            headers=headers,
            data=handler.rfile.read(size),
            stream=True,
            timeout=60,
        )
        body = found.raw.read(decode_content=False)
        handler.send_response_only(found.status_code)
        handler.send_header("Date", format_datetime(datetime.now(UTC) + ahead, usegmt=True))
        for name, value in found.headers.items():
            if name not in ("Date", "Transfer-Encoding", "Connection", "Content-Length"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", found.headers.get("Content-Length", str(len(body))))
        handler.end_headers()
        handler.wfile.write(body)

    with _serving(answer) as address:
        yield address
