"""How do the measurements of stages that have ended get into the tables for all tasks?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError, OperationalError

from gateway.core import Gateway
from gateway.followups import duties, events
from gateway.measurements.index import bring_up_to_date
from gateway.measurements.products import TaskProducts
from gateway.models import Duty, FollowUp, Task
from skyrelay import logs
from skyrelay.stages import SIMPLE_TRANSIENTS, SUBTRACTION

#: Duties taken on at once: one task's are done together.
_AT_ONCE = 20
#: Steps that look for candidates.
_SEARCHES = (SIMPLE_TRANSIENTS.step, SUBTRACTION.step)


def index(gateway: Gateway) -> bool:
    """Bring the tables up to date for some tasks; whether there was anything to do."""
    claimed = duties.claim(gateway.database, Duty.INDEX, _AT_ONCE)
    by_task: dict[int, list[FollowUp]] = defaultdict(list)
    for each in claimed:
        by_task[each.task_id].append(each)
    for task_id, own in by_task.items():
        try:
            with logs.about(task=task_id):
                found = bring_up_to_date(gateway, task_id)
            _finish(gateway, task_id, own, found)
        except (IntegrityError, OperationalError, OSError) as error:
            duties.put_off(gateway.database, own, error)
    return bool(claimed)


def _finish(
    gateway: Gateway, task_id: int, own: Sequence[FollowUp], found: TaskProducts | None
) -> None:
    """The duties are done; candidates are to be announced, which is another one."""
    with gateway.database.writing() as session:
        duties.done(session, own)
        task = session.get(Task, task_id)
        if task is None or found is None:
            return
        for each in own:
            count = sum(row["step"] == each.step for row in found.candidates)
            if each.step not in _SEARCHES or not count:
                continue
            session.add(events.candidates_found(task, each.run_id, each.step, count))
            session.add(
                FollowUp(duty=Duty.ANNOUNCE, task_id=task_id, run_id=each.run_id, step=each.step)
            )
