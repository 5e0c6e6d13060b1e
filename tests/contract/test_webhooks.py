"""Are addresses called when something has happened, with proof, again if need be, safely?"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.followups import webhooks
from gateway.followups.calls import Caller as Phone
from gateway.followups.calls import CallFailed
from gateway.followups.indexing import index
from gateway.models import Duty, FollowUp, WebhookDelivery, now
from skyrelay.messages import Outcome
from skyrelay.stages import INSPECT
from tests.support.gateway import Bench, Caller, opened
from tests.support.measured import Field, measured_task
from tests.support.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who listens."""
    with receiving() as made:
        yield made


@pytest.fixture(name="bench")
def a_bench_in_an_intranet(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """A gateway that may call this machine, and tries twice more."""
    settings: dict[str, Any] = {
        "skyrelay_webhook_networks": "127.0.0.0/8",
        "skyrelay_webhook_delays": (0.0, 1000.0),
    }
    with opened(tmp_path, database_url, **settings) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


def _hook(caller: Caller, url: str, *events: str) -> dict[str, Any]:
    answer = caller.post("webhooks/", json={"url": url, "events": list(events)})
    assert answer.status_code == 201, answer.json
    assert isinstance(answer.json, dict)
    return answer.json


def _send(bench: Bench) -> None:
    while webhooks.spread(bench.gateway):
        pass
    while webhooks.deliver(bench.gateway):
        pass


def _log(caller: Caller, hook: dict[str, Any]) -> list[dict[str, Any]]:
    return list(caller.get(f"webhooks/{hook['id']}/deliveries/").json)


def test_the_end_of_a_run_is_told_once_and_signed(
    bench: Bench, alice: Caller, receiver: Receiver
) -> None:
    hook = _hook(alice, receiver.url)
    task = alice.new_task()
    run = bench.run(alice, task, INSPECT.step)
    _send(bench)
    _send(bench)
    (call,) = receiver.calls
    assert call.body["event"] == "run.done"
    assert call.body["task"]["id"] == task
    assert (call.body["run"]["id"], call.body["run"]["steps"]) == (run, ["inspect"])
    moment, _, proof = call.headers["X-Skyrelay-Signature"].partition(",")
    signed = f"{moment.removeprefix('t=')}.".encode() + call.content
    expected = hmac.new(hook["secret"].encode(), signed, hashlib.sha256).hexdigest()
    assert proof == f"v1={expected}"
    (entry,) = _log(alice, hook)
    assert (entry["state"], entry["tries"][0]["status"]) == ("delivered", 204)


def test_a_run_of_whom_nobody_wants_to_hear_leaves_nothing_to_do(
    bench: Bench, alice: Caller, bob: Caller, receiver: Receiver
) -> None:
    _hook(bob, receiver.url)
    bench.run(alice, alice.new_task(), INSPECT.step)
    with bench.gateway.database.reading() as session:
        duties = session.scalars(select(FollowUp.duty)).all()
    assert Duty.NOTIFY not in duties
    _hook(alice, receiver.url)
    _send(bench)
    assert not receiver.calls, "it was over before anybody asked"


def test_a_webhook_hears_of_its_events_and_its_owner_only(
    bench: Bench, alice: Caller, bob: Caller, receiver: Receiver
) -> None:
    _hook(alice, receiver.url, "run.failed", "candidates.found")
    _hook(bob, receiver.url)
    task = alice.new_task()
    alice.process(task, "inspect")
    bench.hear(bench.finished(bench.command(), Outcome.FAILED, "The image is broken."))
    measured_task(bench, alice, Field(candidates=[(10, 20, 18.0)]))
    index(bench.gateway)
    _send(bench)
    failed, found = sorted((call.body for call in receiver.calls), key=lambda body: body["event"])[
        ::-1
    ]
    assert failed["run"]["reasons"] == ["The image is broken."]
    assert (found["event"], found["candidates"]) == ("candidates.found", 1)


def test_what_is_not_taken_is_sent_again_later_and_later_and_then_given_up(
    bench: Bench, alice: Caller, receiver: Receiver
) -> None:
    receiver.status = 500
    hook = _hook(alice, receiver.url)
    bench.run(alice, alice.new_task(), INSPECT.step)
    _send(bench)
    # The second try was due at once, the third is due in a thousand seconds.
    assert len(receiver.calls) == 2
    (entry,) = _log(alice, hook)
    assert (entry["state"], entry["last_error"]) == ("pending", "it answered 500")
    _let_pass(bench, timedelta(seconds=1001))
    _send(bench)
    (entry,) = _log(alice, hook)
    assert (entry["state"], len(entry["tries"])) == ("failed", 3)
    receiver.status = 200
    path = f"webhooks/{hook['id']}/deliveries/{entry['id']}/redeliver/"
    assert alice.post(path).status_code == 202
    _send(bench)
    assert _log(alice, hook)[0]["state"] == "delivered"
    assert len({call.content for call in receiver.calls}) == 1


def _let_pass(bench: Bench, time: timedelta) -> None:
    with bench.gateway.database.writing() as session:
        session.execute(update(WebhookDelivery).values(due=now() - time))


def test_a_backlog_of_one_webhook_keeps_no_other_waiting(
    bench: Bench, alice: Caller, bob: Caller, receiver: Receiver
) -> None:
    with receiving() as other:
        slow, quick = _hook(alice, receiver.url)["id"], _hook(bob, other.url)["id"]
        with bench.gateway.database.writing() as session:
            old, young = now() - timedelta(minutes=10), now() - timedelta(minutes=1)
            session.add_all(_due(slow, cause, old) for cause in range(200))
            session.add(_due(quick, 200, young))
        assert webhooks.deliver(bench.gateway)
        assert (len(receiver.calls), len(other.calls)) == (1, 1)


def _due(hook: int, cause: int, due: datetime) -> WebhookDelivery:
    return WebhookDelivery(webhook_id=hook, cause=cause, event="run.done", body="{}", due=due)


def test_a_redirect_is_not_followed(bench: Bench, alice: Caller, receiver: Receiver) -> None:
    receiver.status = 307
    hook = _hook(alice, receiver.url)
    bench.run(alice, alice.new_task(), INSPECT.step)
    assert webhooks.spread(bench.gateway)
    assert webhooks.deliver(bench.gateway)
    assert len(receiver.calls) == 1
    assert _log(alice, hook)[0]["last_error"] == "it answered 307"


def test_webhooks_belong_to_their_owners(alice: Caller, bob: Caller, receiver: Receiver) -> None:
    hook = _hook(alice, receiver.url)
    assert alice.get("webhooks/").json[0]["id"] == hook["id"]
    assert "secret" not in alice.get("webhooks/").json[0]
    assert bob.get("webhooks/").json == []
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "deliveries/")):
        answer = bob(method, f"webhooks/{hook['id']}/{path}", json={})
        assert answer.status_code == 403
    assert alice("PATCH", f"webhooks/{hook['id']}/", json={"active": False}).json["active"] is False
    assert alice("DELETE", f"webhooks/{hook['id']}/").status_code == 204
    assert alice.get(f"webhooks/{hook['id']}/").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/",
        "http://",
        "http://user:word@example.org/",
        "http://example.org:99999/",
        "http://[::1]/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://example.org/\r\nX: y",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_must_not_be_called_are_refused(alice: Caller, url: str) -> None:
    assert alice.post("webhooks/", json={"url": url}).status_code == 400
    assert alice.post("webhooks/", json={"url": "http://a.b/", "events": ["x"]}).status_code == 400


def test_a_name_that_means_a_private_address_is_not_called(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "localhost")
    with pytest.raises(CallFailed, match="no public address"):
        Phone.of("").post(url, b"{}", {})
    assert receiver.calls == []
    assert Phone.of("127.0.0.0/8, ::1/128").post(url, b"{}", {}) == 204


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"])
def test_an_address_that_is_written_oddly_is_the_address_it_is(
    receiver: Receiver, host: str
) -> None:
    url = receiver.url.replace("127.0.0.1", host)
    with pytest.raises(CallFailed, match="no public address"):
        Phone.of("").post(url, b"{}", {})
    with pytest.raises(CallFailed, match="no public address"):
        Phone.of("").fetch(url, io.BytesIO(), 10, 5)
    assert receiver.calls == []
