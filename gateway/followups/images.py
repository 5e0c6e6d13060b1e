"""How does an image get here of which SkyPortal has told nothing but its address?

Its task is made when the analysis is asked for, and is empty: nobody waits while an image comes
over a thin line. It is fetched here, tried again as calls are, and then the run begins; whichever
process dies meanwhile. Where there is no hope, that is the analysis's answer.
"""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway import lifetime
from gateway.accounts.quotas import QuotaExceeded, check_bytes, check_run, forget_size
from gateway.audit import remember
from gateway.core import Gateway
from gateway.followups.analyses import change, claim, has_expired
from gateway.followups.calls import Caller, CallFailed
from gateway.followups.sending import CALLS
from gateway.models import IS_FETCHING, Analysis, AnalysisState, Task, now
from gateway.orchestration.runs import lock_task
from gateway.skyportal.report import refusal
from skyrelay import logs, task_states
from skyrelay.products import IMAGE

_log = logging.getLogger(__name__)

#: Seconds for one image, of some gigabytes at most, and how long it then belongs to this process.
_PATIENCE = 300.0
_HOLD = timedelta(seconds=2 * _PATIENCE)
#: How long an image waits for another run to end.
_PAUSE = timedelta(minutes=1)


class _Hopeless(Exception):
    """The image will never be processed: says why."""


class _NotYet(Exception):
    """Another run has to end first: says which."""


def fetch(gateway: Gateway) -> bool:
    """Fetch some of the images that are asked for, and begin their runs; whether there were any."""
    claimed = claim(gateway, IS_FETCHING, hold=_HOLD)
    with ThreadPoolExecutor(CALLS) as pool:
        list(pool.map(lambda each: _try(gateway, each), claimed))
    return bool(claimed)


def _try(gateway: Gateway, analysis: Analysis) -> None:
    if has_expired(gateway, analysis):
        return
    with logs.about(task=analysis.task_id):
        try:
            _fetch(gateway, analysis)
        except _NotYet as error:
            change(gateway, analysis, due=now() + _PAUSE, last_error=str(error))
        except _Hopeless as error:
            _give_up(gateway, analysis, str(error))
        except CallFailed as error:
            _put_off(gateway, analysis, error)
        except Exception:
            # It is due again after a while, until it expires; the others go on.
            _log.exception("the image of analysis %d cannot be taken", analysis.id)


def _fetch(gateway: Gateway, analysis: Analysis) -> None:
    settings = gateway.settings
    with gateway.database.writing() as session:
        # Not only at the end: an image that waits is not fetched at every try.
        _task_with_room(gateway, session, analysis, 0)
    caller = Caller.of(settings.skyrelay_webhook_networks)
    with gateway.store.incoming() as image:
        caller.fetch(analysis.image, image, settings.skyrelay_max_upload, _PATIENCE)
        gateway.store.complete(image)
        with gateway.database.writing() as session:
            _begin(gateway, session, analysis.id, image)


def _begin(gateway: Gateway, session: Session, analysis_id: int, image: IO[bytes]) -> None:
    """Put the image into its task, and begin the run."""
    analysis = session.scalar(select(Analysis).where(Analysis.id == analysis_id).with_for_update())
    if analysis is None or analysis.state != AnalysisState.FETCHING:
        return
    task = _task_with_room(gateway, session, analysis, os.fstat(image.fileno()).st_size)
    forget_size(session, task.id)
    gateway.store.adopt(task.id, IMAGE, image)
    task.state = task_states.UPLOADED
    run = lifetime.start_first(gateway, session, task, analysis.steps)
    analysis.run_id = run.id if run else None
    analysis.state, analysis.due, analysis.last_error = AnalysisState.WAITING, now(), ""
    remember(
        session,
        "processing_start",
        user=task.user,
        task_id=task.id,
        steps=analysis.steps,
        run=analysis.run_id,
        analysis=analysis.id,
    )


def _task_with_room(gateway: Gateway, session: Session, analysis: Analysis, size: int) -> Task:
    """The task, locked, which takes an image of this size and may begin a run."""
    task = lock_task(session, analysis.task_id) if analysis.task_id else None
    if task is None:
        raise _Hopeless(f"Task {analysis.task_id}, which was begun for it, was deleted.")
    if not task.user.is_active:
        raise _Hopeless("The user who asked for it is not active.")
    if task.celery_id is not None:
        raise _NotYet("its task is at work on something else")
    try:
        check_bytes(gateway, session, task.user, size)
        check_run(gateway, session, task.user)
    except QuotaExceeded as error:
        raise (_NotYet if error.kind == "runs" else _Hopeless)(str(error)) from error
    return task


def _put_off(gateway: Gateway, analysis: Analysis, error: CallFailed) -> None:
    delays = gateway.settings.skyrelay_webhook_delays
    if error.final or analysis.fetches >= len(delays):
        _give_up(gateway, analysis, f"The image cannot be fetched: {error}.")
        return
    due = now() + timedelta(seconds=delays[analysis.fetches])
    fetches = analysis.fetches + 1
    change(gateway, analysis, due=due, fetches=fetches, last_error=f"the image: {error}")


def _give_up(gateway: Gateway, analysis: Analysis, sentence: str) -> None:
    body = json.dumps(refusal(sentence))
    change(gateway, analysis, state=AnalysisState.PENDING, body=body, due=now())
