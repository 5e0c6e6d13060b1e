"""How is SkyPortal told what came of an analysis that it has asked for?

An analysis waits for its image (see `gateway.followups.images`), for its run, if it has one, and
for the run's measurements to be in the tables. Then its answer is put together once, kept, and sent
until SkyPortal has taken it, refuses it for good, or does not wait for it any more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, not_, or_, select, update
from sqlalchemy.orm import undefer

from gateway.core import Gateway
from gateway.followups import observation
from gateway.followups.calls import LATER
from gateway.followups.duties import HOLD as COMPOSITION_HOLD
from gateway.followups.sending import CALLS, HOLD, KEPT, after, send
from gateway.measurements.lightcurve import Question, TooMany, light_curve
from gateway.models import (
    IS_PENDING,
    IS_WAITING,
    Analysis,
    AnalysisState,
    Duty,
    FollowUp,
    Run,
    RunState,
    Task,
    User,
    now,
)
from gateway.permissions import visible_to
from gateway.skyportal.report import refusal, report
from skyrelay import logs

_log = logging.getLogger(__name__)


def compose(gateway: Gateway) -> bool:
    """Put together the answers of analyses that are over; whether there were any."""
    run_is_open = exists().where(Run.id == Analysis.run_id, Run.state == RunState.OPEN)
    is_indexed_later = exists().where(
        FollowUp.task_id == Analysis.task_id, FollowUp.duty == Duty.INDEX
    )
    complete = not_(or_(run_is_open, is_indexed_later))
    ready = (IS_WAITING, or_(complete, Analysis.expires < now()))
    claimed = claim(gateway, *ready, hold=COMPOSITION_HOLD)
    for each in claimed:
        with logs.about(task=each.task_id, run=each.run_id):
            try:
                _compose(gateway, each)
            except Exception:
                # It is due again after a while, until it expires; the others go on.
                _log.exception("the answer to analysis %d cannot be put together", each.id)
    return bool(claimed)


def _compose(gateway: Gateway, analysis: Analysis) -> None:
    if not has_expired(gateway, analysis):
        body = json.dumps(_answer(gateway, analysis))
        change(gateway, analysis, state=AnalysisState.PENDING, body=body, due=now())


def has_expired(gateway: Gateway, analysis: Analysis) -> bool:
    """Whether nobody waits any more; that is written down then."""
    if analysis.expires is None or analysis.expires >= now():
        return False
    change(gateway, analysis, state=AnalysisState.FAILED, last_error="SkyPortal waits no longer")
    return True


def claim(gateway: Gateway, *conditions: Any, hold: timedelta) -> Sequence[Analysis]:
    """Some analyses of these that are due; they are ours for a while."""
    due = (
        select(Analysis.id)
        .where(*conditions, Analysis.due <= now())
        .order_by(Analysis.due, Analysis.id)
        .limit(CALLS)
    )
    with gateway.database.reading() as session:
        if session.scalar(due.limit(1)) is None:
            return []
    with gateway.database.writing() as session:
        ours = session.scalars(due.with_for_update(skip_locked=True, of=Analysis)).all()
        session.execute(update(Analysis).where(Analysis.id.in_(ours)).values(due=now() + hold))
    with gateway.database.reading() as session:
        return session.scalars(
            select(Analysis).where(Analysis.id.in_(ours)).options(undefer(Analysis.body))
        ).all()


def _answer(gateway: Gateway, analysis: Analysis) -> dict[str, Any]:
    question = Question(ra=analysis.ra, dec=analysis.dec, radius=analysis.radius)
    with gateway.database.reading() as session:
        user = session.get_one(User, analysis.user_id)
        run = session.get(Run, analysis.run_id) if analysis.run_id else None
        task = session.get(Task, analysis.task_id) if analysis.task_id else None
        if analysis.run_id and run is None:
            return refusal(f"Task {analysis.task_id}, which was begun for it, was deleted.")
        try:
            points = light_curve(session, question, _seen_by(user))
        except TooMany:
            return refusal("Too many measurements lie there: take a smaller radius.")
        about = {
            "object_id": analysis.object_id,
            "ra": analysis.ra,
            "dec": analysis.dec,
            "radius": analysis.radius,
        }
        return report(about, points, run, task.state if task else None)


def _seen_by(user: User) -> ColumnElement[bool]:
    """Nothing, for a user who was shut out in the meantime."""
    return visible_to(user) if user.is_active else Task.id.is_(None)


def deliver(gateway: Gateway) -> bool:
    """Make some of the calls that are due; whether there were any."""
    claimed = claim(gateway, IS_PENDING, hold=HOLD)
    with ThreadPoolExecutor(CALLS) as pool:
        list(pool.map(lambda each: _call(gateway, each), claimed))
    return bool(claimed)


def _call(gateway: Gateway, analysis: Analysis) -> None:
    if has_expired(gateway, analysis):
        return
    tried = send(gateway.settings, analysis.callback_url, analysis.body.encode(), {})
    values = after(gateway.settings, analysis.tries, tried)
    status = tried["status"] or 0
    # So it answers where it will never take the answer.
    if 400 <= status < 500 and status not in LATER:
        values["state"] = AnalysisState.FAILED
    observation.called(analysis, values, tried)
    if tried["error"]:
        with logs.about(task=analysis.task_id, run=analysis.run_id):
            _log.warning("the answer to analysis %d is not taken: %s", analysis.id, tried["error"])
    change(gateway, analysis, **values)


def change(gateway: Gateway, analysis: Analysis, **values: Any) -> None:
    """Write down how the analysis stands now."""
    with gateway.database.writing() as session:
        session.execute(update(Analysis).where(Analysis.id == analysis.id).values(**values))


def forget_old(gateway: Gateway) -> None:
    """Take what is long over out of the list of analyses."""
    over = Analysis.state.in_((AnalysisState.DELIVERED, AnalysisState.FAILED))
    with gateway.database.writing() as session:
        session.execute(delete(Analysis).where(Analysis.created < now() - KEPT, over))
