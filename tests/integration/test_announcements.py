"""Do candidates reach consumers outside through a real broker, as JSON and as Avro?"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fastavro
import pika
import pytest
from astropy.io import fits

from gateway.followups.alerts import SCHEMA, SCHEMA_VERSION
from gateway.followups.announcing import Announcer
from gateway.followups.indexing import index
from gateway.models import Duty, FollowUp
from skyrelay.broker.publisher import declare_topology
from skyrelay.stack.broker_node import BrokerNode
from tests.support.gateway import Bench, opened
from tests.support.measured import Field, measured_task
from tests.support.processes import wait_until
from tests.support.receiver import receiving
from tests.support.servers import installation

PROJECT = Path(__file__).parents[2]
_SEEN = Field(candidates=[(10.0, 20.0, 18.0), (10.01, 20.01, 19.0)], filter="r")
_EXCHANGE = "skyrelay.candidates"


@pytest.fixture
def bench(tmp_path: Path, amqp_uri: str) -> Iterator[Bench]:
    """A gateway with a broker; the test plays the stages."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    with opened(tmp_path, url, amqp_uri=amqp_uri) as gateway:
        made = Bench(gateway)
        yield made
        made.close()


class _Outsider:
    """A consumer that knows nothing of Skyrelay but its contract."""

    def __init__(self, amqp_uri: str, binding: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_uri))
        self._channel = self._connection.channel()
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, _EXCHANGE, binding)

    def messages(self) -> list[tuple[Any, Any, bytes]]:
        """What has arrived: delivery, properties, body."""
        found = []
        while (message := self._channel.basic_get(self._queue, auto_ack=True))[0] is not None:
            found.append(message)
        return found

    def close(self) -> None:
        self._connection.close()


def _announce(bench: Bench) -> None:
    while index(bench.gateway):
        pass
    with closing(Announcer(bench.gateway)) as announcer:
        while announcer.announce():
            pass


def test_candidates_come_as_json_to_who_has_bound_a_queue(bench: Bench, amqp_uri: str) -> None:
    declare_topology(amqp_uri)
    outsider, other = _Outsider(amqp_uri, "json.subtraction.r"), _Outsider(amqp_uri, "json.*.g")
    task = measured_task(bench, bench.caller("alice"), _SEEN)
    _announce(bench)
    messages = outsider.messages()
    assert other.messages() == []
    for delivery, properties, content in messages:
        body = json.loads(content)
        assert delivery.routing_key == "json.subtraction.r"
        assert properties.content_type == "application/json"
        assert properties.message_id == body["id"]
        assert (body["version"], body["kind"], body["task"]) == (1, "CandidateFound", task)
        assert body["image"]["zero_point"] == 27.5
    assert [json.loads(content)["candidate"]["mag"] for *_, content in messages] == [18.0, 19.0]
    outsider.close()
    other.close()


def test_candidates_come_as_avro_with_their_stamps(bench: Bench, amqp_uri: str) -> None:
    declare_topology(amqp_uri)
    outsider = _Outsider(amqp_uri, "avro.#")
    measured_task(bench, bench.caller("alice"), _SEEN)
    _announce(bench)
    packets = [
        packet
        for *_, content in outsider.messages()
        for packet in fastavro.reader(io.BytesIO(content))
    ]
    assert [packet["candidate"]["magpsf"] for packet in packets] == [18.0, 19.0]
    assert [packet["candidate"]["rb"] for packet in packets] == [0.9, 0.1]
    assert packets[0]["candidate"]["jd"] == pytest.approx(2461043.0)
    assert len({packet["candid"] for packet in packets}) == 2
    stamps = [
        fits.getdata(io.BytesIO(gzip.decompress(packets[0][name]["stampData"])))[0, 0]
        for name in ("cutoutScience", "cutoutTemplate", "cutoutDifference")
    ]
    assert stamps == [1, 2, 3]
    outsider.close()


def test_an_alert_has_what_earlier_images_show_at_its_place(bench: Bench, amqp_uri: str) -> None:
    declare_topology(amqp_uri)
    alice, eve = bench.caller("alice"), bench.caller("eve")

    def night(day: int, *objects: tuple[float, float, float]) -> Field:
        return Field(objects=[(10.1, 20.1, 16.0), *objects], time=f"2026-01-{day:02d}T00:00:00")

    measured_task(bench, alice, night(1, (10.0, 20.0, 17.5)), "seen.fits")
    measured_task(bench, alice, night(2), "limit.fits")
    measured_task(bench, alice, night(9, (10.0, 20.0, 19.5)), "later.fits")
    measured_task(bench, eve, night(1, (10.0, 20.0, 17.0)), "not ours.fits")
    _announce(bench)
    outsider = _Outsider(amqp_uri, "avro.#")
    found = Field(candidates=[(10.0, 20.0, 18.0)], time="2026-01-03T00:00:00")
    measured_task(bench, alice, found, "present.fits")
    _announce(bench)
    schema = fastavro.schema.load_schema(PROJECT / "docs" / "schemas" / "alert-1.0.avsc")
    ((*_, content),) = outsider.messages()
    (packet,) = fastavro.reader(io.BytesIO(content), reader_schema=schema)
    earlier = packet["prv_candidates"]
    assert [each["image"] for each in earlier] == ["seen.fits", "limit.fits"]
    assert [each["magpsf"] for each in earlier] == [17.5, None]
    assert [each["diffmaglim"] for each in earlier] == [20.5, 20.5]
    assert [each["jd"] for each in earlier] == [2461041.5, 2461042.5]
    candidate = packet["candidate"]
    assert (candidate["ndethist"], candidate["ncovhist"]) == (1, 2)
    assert candidate["jdstarthist"] == candidate["jdendhist"] == 2461041.5
    outsider.close()


def test_the_schema_of_alerts_is_the_one_that_is_published() -> None:
    name = f"alert-{SCHEMA_VERSION}.avsc"
    published = json.loads((PROJECT / "docs" / "schemas" / name).read_text())
    assert fastavro.schema.to_parsing_canonical_form(
        published
    ) == fastavro.schema.to_parsing_canonical_form(SCHEMA)


def test_candidates_wait_while_the_broker_is_away(
    bench: Bench, broker: BrokerNode, amqp_uri: str
) -> None:
    declare_topology(amqp_uri)
    measured_task(bench, bench.caller("alice"), _SEEN)
    while index(bench.gateway):
        pass
    announcer = Announcer(bench.gateway)
    broker.stop()
    assert announcer.announce()
    broker.start()
    outsider = _Outsider(amqp_uri, "json.#")

    def arrived() -> bool:
        announcer.announce()
        with bench.gateway.database.reading() as session:
            return session.query(FollowUp).filter(FollowUp.duty == Duty.ANNOUNCE).count() == 0

    assert wait_until(arrived)
    assert len({properties.message_id for _, properties, _ in outsider.messages()}) == 2
    outsider.close()
    announcer.close()


def test_what_follows_is_done_by_a_process_that_may_be_killed(
    tmp_path: Path, amqp_uri: str
) -> None:
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    with (
        receiving() as receiver,
        opened(tmp_path, url, skyrelay_webhook_networks="127.0.0.0/8") as gateway,
        installation(tmp_path, url, amqp_uri, skyrelay_webhook_networks="127.0.0.0/8") as site,
    ):
        bench = Bench(gateway)
        alice = bench.caller("alice")
        hook = alice.post("webhooks/", json={"url": receiver.url, "events": ["candidates.found"]})
        assert hook.status_code == 201
        question = {
            "callback_url": receiver.url,
            "resource_id": "AT2026abc",
            "inputs": {"analysis_parameters": {"ra": 10, "dec": 20}},
        }
        assert alice.post("skyportal/analyses/", json=question).status_code == 200
        events = site.events()
        events.kill()
        measured_task(bench, alice, _SEEN)
        site.events()
        assert wait_until(lambda: len(alice.get("lightcurve/?ra=10&dec=20").json["results"]) == 1)

        def told(kind: str, what: str) -> set[object]:
            """What the calls of one kind say; each may come twice."""
            bodies = [call.body for call in receiver.calls]
            return {body[what] for body in bodies if kind in body}

        assert wait_until(lambda: told("event", "candidates")), site.logs()
        assert wait_until(lambda: told("analysis", "status")), site.logs()
        assert told("event", "candidates") == {2}
        assert told("analysis", "status") == {"success"}
        bench.close()
