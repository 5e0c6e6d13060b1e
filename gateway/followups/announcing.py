"""How do candidates reach consumers outside, through the broker?

Each candidate is published twice, as JSON and as Avro, with the broker's confirmation; the duty
goes when all are. So a candidate may come twice, under the same message id, and is never lost.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import undefer

from gateway.core import Gateway
from gateway.followups import duties
from gateway.followups.alerts import AVRO, alert, cutouts_of, history_of
from gateway.measurements.products import Row
from gateway.models import Duty, FollowUp, Task, TaskResults, User
from gateway.permissions import visible_to
from skyrelay import logs
from skyrelay.broker.publisher import BrokerAway, Publisher
from skyrelay.broker.topology import TopologyConflict, candidate_route

#: Version of the JSON messages; docs/push.md says what is in them.
VERSION = 1
_AT_ONCE = 10


class Announcer:
    """Announces candidates, in one thread, over a connection of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        settings = gateway.settings
        self._publisher = Publisher(settings.amqp_uri, settings.skyrelay_heartbeat)

    def announce(self) -> bool:
        """Publish some tasks' candidates; whether there was anything to do."""
        database = self._gateway.database
        claimed = duties.claim(database, Duty.ANNOUNCE, _AT_ONCE)
        if not claimed:
            self._publisher.keep_alive()
        for each in claimed:
            try:
                if self._gateway.settings.skyrelay_announce_candidates:
                    with logs.about(task=each.task_id, run=each.run_id, stage=each.step):
                        self._announce(each)
            except (BrokerAway, TopologyConflict, OSError) as error:
                duties.put_off(database, [each], error)
            else:
                with database.writing() as session:
                    duties.done(session, [each])
        return bool(claimed)

    def close(self) -> None:
        """Close the connection."""
        self._publisher.close()

    def _announce(self, duty: FollowUp) -> None:
        with self._gateway.database.reading() as session:
            task = session.get(Task, duty.task_id)
            found = session.get(
                TaskResults, duty.task_id, options=[undefer(TaskResults.candidates)]
            )
        if task is None or found is None:
            return
        for row in found.candidates:
            if row["step"] == duty.step:
                self._publish(task, duty, found, row)

    def _publish(self, task: Task, duty: FollowUp, found: TaskResults, row: Row) -> None:
        name = f"{task.id}/{duty.run_id}/{duty.step}/{row['name']}"
        self._publisher.publish_raw(
            json.dumps(_message(name, task, duty, found, row)).encode(),
            candidate_route("json", duty.step, found.filter),
            message_id=name,
        )
        cutouts = cutouts_of(self._gateway.store, task.id, row)
        with self._gateway.database.reading() as session:
            owner = session.get_one(User, task.user_id)
            history = history_of(session, found, row, visible_to(owner))
        self._publisher.publish_raw(
            alert(name, task, found, row, cutouts, history),
            candidate_route("avro", duty.step, found.filter),
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
