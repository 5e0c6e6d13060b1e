"""What becomes of messages that were put aside?

The broker's dead-letter queue hands them on to the gateway, which keeps them in its database and
fails their runs. There an operator lists them, looks at them, and has each of them replayed or
dropped: peeking into a queue would count as deliveries and, in the end, lose the message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.core import Gateway
from gateway.models import DeadLetter, Run, now
from gateway.orchestration import runs
from skyrelay import logs
from skyrelay.broker import consumer, topology
from skyrelay.errors import Permanent
from skyrelay.messages import Place, StageStarted, UnreadableMessage, parse, place_in

_log = logging.getLogger(__name__)

REPLAYED, DROPPED = "replayed", "dropped"


@dataclass(frozen=True)
class GivenUp:
    """An attempt that will never end by itself, because its message was put aside, and why."""

    place: Place
    reason: str


class UnknownLetter(Permanent):
    """There is no such dead letter."""


def keep(session: Session, letter: consumer.DeadLetter) -> GivenUp | None:
    """Remember a dead letter; the attempt that hangs on it, if one does."""
    body = letter.body.decode("utf-8", errors="replace")
    place = place_in(letter.body)
    known = select(DeadLetter.id).where(
        DeadLetter.body == body,
        DeadLetter.meant_for == letter.meant_for,
        DeadLetter.handled == "",
    )
    if session.scalar(known.limit(1)) is None:
        with logs.about(place):
            _log.error("DEAD LETTER for %s: %s %.500s", letter.meant_for, letter.reason, body)
        session.add(
            DeadLetter(
                meant_for=letter.meant_for,
                reason=letter.reason,
                body=body,
                task_id=place.task if place else None,
                run_id=str(place.run) if place else None,
            )
        )
    if place is None or _is_beginning(letter):
        return None
    return GivenUp(place, letter.reason)


def _is_beginning(letter: consumer.DeadLetter) -> bool:
    """Whether it is an event that nothing depends on."""
    if letter.meant_for != topology.DEAD_EVENT:
        return False
    try:
        return isinstance(parse(letter.body), StageStarted)
    except UnreadableMessage:
        return False


def listed(session: Session, *, handled: bool = False) -> Sequence[DeadLetter]:
    """The dead letters that wait for somebody, oldest first; all of them with ``handled``."""
    query = select(DeadLetter).order_by(DeadLetter.id)
    return session.scalars(query if handled else query.where(DeadLetter.handled == "")).all()


def find(session: Session, letter_id: int) -> DeadLetter:
    """The dead letter of this number.

    Raises
    ------
    UnknownLetter
        If there is none.
    """
    letter = session.get(DeadLetter, letter_id)
    if letter is None:
        raise UnknownLetter(f"There is no dead letter {letter_id}.")
    return letter


def replay(gateway: Gateway, session: Session, letter_id: int, by: str) -> Run:
    """Try again what a dead letter has kept from happening; ``by``: who wants it.

    The letter's own run has failed and stays so: a new one does the steps that were left.

    Raises
    ------
    Permanent
        If that cannot be: says why.
    """
    letter = _open_letter(session, letter_id)
    place = place_in(letter.body)
    if place is None:
        raise Permanent(
            f"The dead letter {letter.id} does not say which run it belongs to: only dropping it "
            "is possible."
        )
    task = runs.lock_task(session, place.task)
    failed = session.get(Run, str(place.run))
    if task is None or failed is None:
        raise Permanent(f"The task {place.task} of the dead letter {letter.id} is gone.")
    if not 0 <= place.index < len(failed.steps):
        raise Permanent(
            f"The dead letter {letter.id} is about stage {place.index + 1} of a run of "
            f"{len(failed.steps)}: only dropping it is possible."
        )
    left = failed.steps[place.index :]
    try:
        run = runs.start(gateway, session, task, left, {}, failed.user_id, failed.priority)
    except runs.AlreadyRunning as error:
        raise Permanent(f"The task {task.id} is being processed: wait for its end.") from error
    _handle(letter, REPLAYED, by)
    return run


def drop(session: Session, letter_id: int, by: str) -> None:
    """Decide that nothing is to be done about a dead letter; ``by``: who does.

    Raises
    ------
    Permanent
        If there is no such letter, or something was done already.
    """
    _handle(_open_letter(session, letter_id), DROPPED, by)


def _open_letter(session: Session, letter_id: int) -> DeadLetter:
    letter = find(session, letter_id)
    session.refresh(letter, with_for_update=True)
    if letter.handled:
        raise Permanent(f"The dead letter {letter_id} was {letter.handled} already.")
    return letter


def _handle(letter: DeadLetter, what: str, by: str) -> None:
    letter.handled = what
    letter.handled_at = now()
    letter.handled_by = by
