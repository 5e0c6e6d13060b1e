"""What do messages that nobody can work on do to those who try, and to everybody else?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from uuid import uuid4

import pytest
from sqlalchemy import select

from gateway.models import DeadLetter, Run, RunState
from skyrelay.broker import topology
from skyrelay.broker.publisher import Publisher
from skyrelay.messages import RunStage, StageFinished
from tests.support.fleet import fleet
from tests.support.gateway import opened
from tests.support.invariants import verdict
from tests.support.servers import Installation

MIB = 1024**2

#: Addresses that a worker may use: it needs less, and not much less.
ADDRESSES = 2048 * MIB

#: Memory that the kernel gives to a worker before it kills it.
MEMORY = 64 * MIB

#: Where a group of processes is made that may use little memory: in version 1 and version 2.
_CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group in which the kernel kills who needs more than a little memory."""
    for root, limit in _CONTROL_GROUPS:
        group = root / f"skyrelay-test-{token_hex(4)}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(str(MEMORY))
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("control groups for memory cannot be made here (needs root)")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_poison_is_put_aside_and_everybody_else_goes_on(
    place: Installation, amqp_uri: str, little_memory: Path, tmp_path: Path
) -> None:
    orders: dict[str, dict[str, object]] = {
        "well": {},
        "kills its worker": {"act": "die"},
        "kills its replica": {"act": "kill the replica"},
        "asks for too much memory": {"act": "eat memory", "limit": ADDRESSES},
        "is killed for memory": {"act": "eat memory", "cgroup": str(little_memory)},
        "well, later": {},
    }
    runs: dict[str, str] = {}
    traces: dict[str, Path] = {}
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place) as made,
    ):
        for body, route in _unreadable():
            with Publisher(amqp_uri) as publisher:
                publisher.publish_raw(body, route)
        for name, order in orders.items():
            trace = tmp_path / f"trace-{len(runs)}"
            task = made.ask(lambda client: client.create_task(original_name="a.fits")).id
            given = {"trace": str(trace), "stamps": True, **order}
            runs[name] = made.process(task, ["trial", "trial"], given)
            traces[runs[name]] = trace
        found = verdict(made, gateway, traces, amqp_uri, seconds=180.0)
        with gateway.database.reading() as session:
            ends = {name: session.get_one(Run, run) for name, run in runs.items()}
            letters = Counter(session.scalars(select(DeadLetter.meant_for)))
        logs = made.logs()
    # Three that could not be read, and the one that kills its replica; two events.
    assert letters == {"trial": 4, topology.DEAD_EVENT: 2}, logs
    assert not found, "\n".join([*found, logs])
    assert {name for name, run in ends.items() if run.state == RunState.DONE} == {
        "well",
        "well, later",
    }
    reasons = {name: " ".join(run.reasons) for name, run in ends.items()}
    times = {name: traces[run].read_text().count("begun") for name, run in runs.items()}
    assert "died 3 times" in reasons["kills its worker"]
    assert "signal 11" in reasons["kills its worker"]
    assert times["kills its worker"] == 3
    assert "was given up: The worker died" in reasons["kills its replica"]
    # A publisher that waited long for a confirmation has sent a second one, which counts by itself.
    assert topology.DELIVERY_LIMIT < times["kills its replica"] <= 2 * (topology.DELIVERY_LIMIT + 1)
    assert reasons["asks for too much memory"] == (
        "The image needs more memory than this worker has."
    )
    assert times["asks for too much memory"] == 1
    assert "perhaps because the machine ran out of memory" in reasons["is killed for memory"]
    assert times["is killed for memory"] == 3


def _unreadable() -> list[tuple[bytes, topology.Route]]:
    """Bodies that follow no contract, or another one, and where they go."""
    command = RunStage(run=uuid4(), task=1, index=0, step="trial", config="nothing")
    to_stage = topology.route_of(command)
    newer = json.loads(command.to_json()) | {"version": 2}
    to_gateway = topology.Route(
        topology.EVENTS.name, f"trial.{StageFinished.__name__}", mandatory=True, persistent=True
    )
    return [
        (b"\x80\x81 not even text", to_stage),
        (b'{"kind": "RunStage"}', to_stage),
        (json.dumps(newer).encode(), to_stage),
        (b"\x80\x81 not even text", to_gateway),
        (json.dumps({"kind": "StageFinished", "version": 2}).encode(), to_gateway),
    ]
