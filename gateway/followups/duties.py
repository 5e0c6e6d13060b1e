"""How is a duty taken on by one process, done at least once, and tried again if it fails?

A duty is a row, written in the transaction that gave rise to it. Whoever claims it has it for a
while; if that process dies, the row becomes due again. It goes in the transaction that does the
last of it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from gateway.database import Database
from gateway.followups import observation
from gateway.models import Duty, FollowUp, now
from skyrelay import logs

_log = logging.getLogger(__name__)

#: How long a row belongs to who has claimed it; longer than the work on any usually takes.
HOLD = timedelta(minutes=2)
#: Seconds before the second, third, ... try; the last one again and again.
_PAUSES = (1.0, 5.0, 30.0, 300.0)


def claim(database: Database, duty: Duty, most: int) -> Sequence[FollowUp]:
    """Some duties that are due, the oldest first; they are ours for a while."""
    due = (
        select(FollowUp.id)
        .where(FollowUp.duty == duty, FollowUp.due <= now())
        .order_by(FollowUp.due, FollowUp.id)
    )
    with database.reading() as session:
        if session.scalar(due.limit(1)) is None:
            return []
    free = due.limit(most).with_for_update(skip_locked=True)
    with database.writing() as session:
        claimed = session.scalars(
            update(FollowUp)
            .where(FollowUp.id.in_(free))
            .values(due=now() + HOLD, tries=FollowUp.tries + 1)
            .returning(FollowUp)
        ).all()
    return sorted(claimed, key=lambda each: each.id)


def done(session: Session, follow_ups: Collection[FollowUp]) -> None:
    """Nothing is left to be done about these."""
    observation.done(follow_ups)
    session.execute(delete(FollowUp).where(FollowUp.id.in_([each.id for each in follow_ups])))


def put_off(database: Database, follow_ups: Collection[FollowUp], error: BaseException) -> None:
    """Something is in the way now: try again, later each time."""
    for each in follow_ups:
        pause = _PAUSES[min(each.tries, len(_PAUSES)) - 1]
        with logs.about(task=each.task_id, run=each.run_id, stage=each.step):
            observation.put_off(each, error)
            _log.warning("%s is put off by %g s: %s", each.duty, pause, error)
        with database.writing() as session:
            session.execute(
                update(FollowUp)
                .where(FollowUp.id == each.id)
                .values(due=now() + timedelta(seconds=pause))
            )
