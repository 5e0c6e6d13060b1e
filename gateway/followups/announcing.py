"""How do candidates reach consumers outside, through the broker?

Each candidate is published twice, as JSON and as Avro, with the broker's confirmation; the duty
goes when all are. So a candidate may come twice, under the same message id, and is never lost.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import undefer

from gateway.core import Gateway
from gateway.followups import duties
from gateway.followups.alerts import AVRO, alert, cutouts_of
from gateway.measurements.products import Row
from gateway.models import Duty, FollowUp, Task, TaskResults
from skyrelay.broker.publisher import BrokerAway, Publisher
from skyrelay.broker.topology import TopologyConflict, candidate_route

#: Version of the JSON messages; docs/candidates.md says what is in them.
VERSION = 1
_AT_ONCE = 10
#: The publisher belongs to one thread.
_own = threading.local()


def announce(gateway: Gateway) -> bool:
    """Publish some tasks' candidates; whether there was anything to do."""
    publisher = _publisher(gateway)
    claimed = duties.claim(gateway.database, Duty.ANNOUNCE, _AT_ONCE)
    if not claimed:
        publisher.keep_alive()
        return False
    for each in claimed:
        try:
            if gateway.settings.skyrelay_announce_candidates:
                _announce(gateway, publisher, each)
        except (BrokerAway, TopologyConflict, OSError) as error:
            duties.put_off(gateway.database, [each], error)
        else:
            with gateway.database.writing() as session:
                duties.done(session, [each])
    return True


def _publisher(gateway: Gateway) -> Publisher:
    if not hasattr(_own, "publisher"):
        settings = gateway.settings
        _own.publisher = Publisher(settings.amqp_uri, settings.skyrelay_heartbeat)
    publisher: Publisher = _own.publisher
    return publisher


def _announce(gateway: Gateway, publisher: Publisher, duty: FollowUp) -> None:
    with gateway.database.reading() as session:
        task = session.get(Task, duty.task_id)
        found = session.get(TaskResults, duty.task_id, options=[undefer(TaskResults.candidates)])
    if task is None or found is None:
        return
    for row in found.candidates:
        if row["step"] != duty.step:
            continue
        name = f"{task.id}/{duty.run_id}/{duty.step}/{row['name']}"
        band = found.filter
        publisher.publish_raw(
            json.dumps(_message(name, task, duty, found, row)).encode(),
            candidate_route("json", duty.step, band),
            message_id=name,
        )
        content = alert(name, task, found, row, cutouts_of(gateway.store, task.id, row))
        publisher.publish_raw(
            content,
            candidate_route("avro", duty.step, band),
            content_type=AVRO,
            message_id=name,
        )


def _message(name: str, task: Task, duty: FollowUp, found: TaskResults, row: Row) -> dict[str, Any]:
    candidate = {key: value for key, value in row.items() if key not in ("step", "cutout")}
    path = row["cutout"]
    return {
        "version": VERSION,
        "kind": "CandidateFound",
        "id": name,
        "sent": datetime.now(UTC).isoformat(),
        "task": task.id,
        "run": duty.run_id,
        "step": duty.step,
        "image": {
            "original_name": task.original_name,
            "title": task.title,
            "time": found.time,
            "filter": found.filter,
            "mag_limit": found.mag_limit,
            "zero_point": found.zero_point,
            "fwhm": found.fwhm,
        },
        "candidate": candidate | {"cutout": path and f"/api/tasks/{task.id}/files/{path}"},
    }
