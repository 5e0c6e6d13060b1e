"""Does the Python client reach all that the API offers, and understand what it answers?"""

from __future__ import annotations

import inspect
import io
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from gateway.followups import webhooks
from gateway.followups.indexing import index
from gateway.openapi.pages import document
from gateway.openapi.parameters import path_of
from skyrelay.broker.consumer import DeadLetter
from skyrelay.client import Client, NotFound
from skyrelay.stages import INSPECT
from tests.support.gateway import PASSWORD, Bench, Caller
from tests.support.measured import Field, measured_task

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: Operations that no method asks for, and why.
_LEFT_OUT = {
    "landing.landing": "it is a page for people",
    "landing.robots": "search engines ask it",
    "openapi.read_document": "it is for programs that make clients, which this one is",
    "health.alive": "supervisors ask it",
    "health.ready": "supervisors ask it",
    "health.metrics": "Prometheus asks it",
    "api.auth.log_in": "it begins the session of a browser; programs have tokens",
    "api.auth.log_out": "it ends the session of a browser",
    "api.openid.go_to_provider": "it leads a browser to the provider of its user",
    "api.openid.come_back": "the provider leads a browser back to it",
    "api.analyses.begin_analysis": "SkyPortal asks it, in its own words",
    "api.presets.update_preset.PUT": "it does what PATCH does",
    "api.tasks.update_task.POST": "it does what PATCH does",
    "api.legacy.upload_task": "it is there for clients of old versions of STDWeb",
    "api.legacy.act": "it is there for clients of old versions of STDWeb",
    "api.legacy.upload_template": "it is there for clients of old versions of STDWeb",
    "api.legacy.export": "it is there for clients of old versions of STDWeb",
}


class _Asked(Exception):
    """A request was made."""


class _Listener(BaseAdapter):
    """Takes note of requests instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[tuple[str, str]] = set()

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        self.asked.add((str(request.method), request.path_url.partition("?")[0]))
        raise _Asked

    def close(self) -> None:
        """Nothing is open."""


def test_every_operation_is_reached_by_a_method_or_left_out_for_a_reason(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    listener = _Listener()
    client = Client("http://skyrelay.invalid", "key")
    client._session.mount("http://", listener)
    for name, method in inspect.getmembers(client, inspect.ismethod):
        if name.startswith("_") or name in ("login", "close"):
            continue
        for whole in (False, True):
            positional, named = _arguments(method, tmp_path / "file", whole=whole)
            with pytest.raises(_Asked):
                answer = method(*positional, **named)
                if inspect.isgenerator(answer):
                    next(answer)
    routes = bench.app.url_map.bind("skyrelay.invalid")
    reached = set()
    for verb, path in listener.asked - {("GET", "/api/x")}:
        rule, _ = routes.match(path, verb, return_rule=True)
        operations = document(bench.app)["paths"][path_of(rule)]
        reached.add(operations[verb.lower()]["operationId"])
    offered = {
        operation["operationId"]
        for operations in document(bench.app)["paths"].values()
        for operation in operations.values()
    }
    assert offered - reached == _LEFT_OUT.keys()


def _arguments(method: Any, file: Path, *, whole: bool) -> tuple[list[Any], dict[str, Any]]:
    """Values for the parameters of a method, with or without those that may be left out."""
    values = {"int": 1, "float": 1.0, "str": "x", "bool": True, "Sequence": ["x"], "Mapping": {}}
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        optional = parameter.default is not parameter.empty or name in ("on_progress", "timeout")
        if parameter.kind is parameter.VAR_KEYWORD or (optional and not whole):
            continue
        kind = str(parameter.annotation)
        value = file if "PathLike" in kind else values.get(kind.partition("[")[0].split(" ")[0])
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    return positional, named


class _Wsgi(BaseAdapter):
    """Hands requests to the application, without a network."""

    def __init__(self, http: FlaskClient) -> None:
        super().__init__()
        self._http = http

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        body = request.body
        data = b"".join(body) if body is not None and not isinstance(body, bytes | str) else body
        with self._http.open(
            request.path_url, method=request.method, headers=dict(request.headers), data=data
        ) as answer:
            response = requests.Response()
            response.status_code = answer.status_code
            response.headers.update(answer.headers)
            response.raw = HTTPResponse(io.BytesIO(answer.data), preload_content=False)
            response.encoding = "utf-8"
            response.request = request
            return response

    def close(self) -> None:
        """Nothing is open."""


def _client(bench: Bench, caller: Caller) -> Client:
    client = Client("http://skyrelay.invalid", caller.token)
    client._session.mount("http://", _Wsgi(bench.app.test_client()))
    return client


@pytest.fixture
def client(bench: Bench, alice: Caller) -> Client:
    """Alice's client."""
    return _client(bench, alice)


@pytest.fixture
def staff(bench: Bench, admin: Caller) -> Client:
    """An administrator's client."""
    return _client(bench, admin)


def test_what_was_measured_is_read(bench: Bench, alice: Caller, client: Client) -> None:
    task = measured_task(bench, alice, Field(objects=[(10.0, 20.0, 17.0)]))
    index(bench.gateway)
    (point,) = client.light_curve(10.0, 20.0)
    assert (point.mag, point.task) == (17.0, task)
    assert [each["id"] for each in client.covering(10.0, 20.0)] == [task]
    assert [each["id"] for each in client.covering("10 20", radius=0.1)] == [task]
    assert [each["id"] for each in client.covering(moc="0/0-11")] == [task]
    assert [each["ra"] for each in client.sky_map(query="image")] == [pytest.approx(10.0)]
    (listed,) = client.tasks(details=True)
    assert listed.model_dump()["radius"] == pytest.approx(0.352, abs=0.001)
    assert client.resolve("10:00:00 +20:00:00") == pytest.approx((150.0, 20.0))
    assert client.results(task).filter == "r"
    assert [row["task"] for row in client.all_results()] == [task]
    origin = client.origin(task, "objects.parquet")
    assert origin["step"] == "photometry" and origin["software"]["stdpipe"]
    assert {each["path"] for each in client.provenance(task)} >= {"objects.parquet"}


def test_a_log_that_was_read_whole_before_its_step_ended_says_no_more(
    bench: Bench, alice: Caller, client: Client
) -> None:
    task = alice.new_task()
    alice.process(task, INSPECT.step)
    command = bench.command()
    bench.hear(bench.started(command))
    attempt = bench.store.attempt(command)
    with attempt.claimed():
        (attempt.open_scratch() / INSPECT.log_name).write_text(INSPECT.log_name)
        assert client.log(task, INSPECT.step) == (INSPECT.log_name, True)
        assert client.log(task, INSPECT.step, len(INSPECT.log_name)) == ("", True)
    bench.hear(bench.finished(command, product=INSPECT.log_name))
    assert client.log(task, INSPECT.step, len(INSPECT.log_name)) == ("", False)


def test_a_long_queue_is_read_page_by_page(
    alice: Caller, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skyrelay.client.queue._PAGE", 2)
    tasks = [alice.new_task() for _ in range(4)]
    for task in tasks:
        client.process(task, ["inspect"])
    assert [entry.task_id for entry in client.queue()] == tasks


def test_the_queue_is_read_and_cleared(alice: Caller, client: Client, staff: Client) -> None:
    first, second = alice.new_task(), alice.new_task()
    run = client.process(first, ["inspect"]).celery_id
    client.process(second, ["inspect"])
    assert {each.task_id for each in client.queue()} == {first, second}
    assert client.queue_entry(run).id == run
    assert client.terminate(run) == 1
    assert staff.terminate_all() == 1
    assert client.queue() == []


def test_files_and_pictures_of_the_data_folder_are_fetched(bench: Bench, client: Client) -> None:
    folder = bench.gateway.settings.data_path / "night 1"
    folder.mkdir()
    (folder / "a.txt").write_text("a note")
    assert [each.name for each in client.data_files()] == ["night 1"]
    assert [each.name for each in client.data_files("night 1")] == ["a.txt"]
    assert client.read_data("night 1/a.txt") == b"a note"
    with pytest.raises(NotFound):
        client.data_preview("night 1/b.fits")


def test_presets_are_made_changed_and_deleted(client: Client, staff: Client) -> None:
    made = staff.create_preset("deep", {"sn": 3})
    assert client.presets() == [client.preset(made.id)]
    assert staff.update_preset(made.id, name="deeper").name == "deeper"
    staff.delete_preset(made.id)
    assert client.presets() == []


def test_webhooks_are_changed_and_deliveries_sent_again(
    bench: Bench, alice: Caller, client: Client
) -> None:
    made = client.create_webhook("https://example.org/hook", ["run.done"])
    assert client.webhook(made.id).secret == made.secret
    assert client.update_webhook(made.id, events=[]).events == []
    bench.run(alice, alice.new_task(), INSPECT.step)
    assert webhooks.spread(bench.gateway)
    (delivery,) = client.deliveries(made.id)
    assert client.redeliver(made.id, delivery.id).state == "pending"


def test_accounts_groups_and_the_audit_log_are_managed(bench: Bench, staff: Client) -> None:
    made = staff.make_user("dora", "a rather long passphrase", email="dora@example.org")
    assert staff.update_user(made.id, first_name="Dora").first_name == "Dora"
    assert [each.username for each in staff.users("dora")] == ["dora"]
    group = staff.make_group("night", ["dora"])
    assert staff.change_members(group.id, remove=["dora"]).members == []
    assert staff.rename_group(group.id, "day").name == "day"
    staff.delete_group(group.id)
    assert 0 < staff.disk()["tasks"]["free"] <= staff.disk()["tasks"]["size"]
    assert "user_create" in {each.action for each in staff.audit(limit=1)}
    staff.delete_user(made.id)
    with pytest.raises(NotFound):
        staff.user(made.id)


def test_one_looks_after_ones_own_account(client: Client) -> None:
    assert client.account().groups == ["observers"]
    assert client.update_account(last_name="Liddell").last_name == "Liddell"
    made = client.make_token("telescope")
    assert made.token and made.id in {each.id for each in client.tokens()}
    client.revoke_token(made.id)
    client.change_password(PASSWORD, "another long passphrase")


def test_dead_letters_are_dealt_with(bench: Bench, alice: Caller, staff: Client) -> None:
    first, second = alice.new_task(), alice.new_task()
    for task in (first, second):
        alice.process(task, "inspect")
        body = bench.command().to_json().encode()
        bench.hear(DeadLetter(body, "inspect", "The worker died."))
    replayed, dropped = staff.dead_letters()
    assert staff.dead_letter(dropped.id) == dropped
    assert staff.replay(replayed.id).id == first
    staff.drop_letter(dropped.id)
    assert staff.dead_letters() == []
    assert len(staff.dead_letters(handled=True)) == 2


def test_reference_tables_and_watched_folders_are_read(bench: Bench, staff: Client) -> None:
    assert set(staff.reference()["filters"]) == staff.filters().keys()
    assert set(staff.reference()["catalogs"]) == staff.catalogues().keys()
    assert set(staff.reference()["templates"]) == staff.templates().keys()
    (bench.gateway.settings.data_path / "incoming").mkdir()
    watched = staff.watch("incoming")
    assert staff.pause_watch(watched.id).active is False
    assert [each.id for each in staff.watches()] == [staff.watched(watched.id).id]
    assert staff.batches() == [] and staff.analyses() == []


def test_many_tasks_are_shared_and_archived_at_once(alice: Caller, client: Client) -> None:
    tasks = [alice.new_task(), alice.new_task()]
    assert client.share(tasks[0], add=["observers"]).groups == ["observers"]
    assert client.share(tasks[0], remove=["observers"]).groups == []
    archived = client.act("archive", [*tasks, 99])
    assert [each.status for each in archived] == ["success", "success", "error"]
    assert archived[0].celery_id and archived[2].error == "Not found."


def test_a_copy_may_be_without_products(bench: Bench, alice: Caller, client: Client) -> None:
    task = alice.new_task()
    bench.run(alice, task, INSPECT.step, product="mask.fits")
    assert client.duplicate(task, products=False).state == "duplicated"
