"""Which files of the watched folders are new, and which are complete?"""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from gateway import local_files
from gateway.core import Gateway
from gateway.followups import observation
from gateway.followups.intake.files import fingerprint, is_fits
from gateway.models import Intake, IntakeFile, IntakeKind, IntakeState, now
from skyrelay.imaging.fits_structure import is_complete
from skyrelay.settings import Settings

_log = logging.getLogger(__name__)

#: Files asked about in one question.
_AT_ONCE = 500
_INCOMPLETE = "It is not complete yet."


@dataclass(frozen=True)
class _Found:
    """A file in a watched folder, as it is now; ``path`` is relative to the data folder."""

    path: str
    fingerprint: str


def look(gateway: Gateway) -> bool:
    """Look once into all folders that are watched; never in a hurry to look again."""
    with gateway.database.reading() as session:
        folders = session.scalars(
            select(Intake).where(Intake.kind == IntakeKind.WATCH, Intake.active).order_by(Intake.id)
        ).all()
    unreadable = 0
    for folder in folders:
        try:
            found = list(_listed(gateway.settings, folder))
            for start in range(0, len(found), _AT_ONCE):
                _compare(gateway, folder, found[start : start + _AT_ONCE])
        except (OSError, IntegrityError) as error:
            # It may be mounted again, or another process has looked at the same moment.
            _log.warning("cannot look into %s: %s", folder.folder, error)
            unreadable += isinstance(error, OSError)
    observation.UNREADABLE.set(unreadable)
    observation.LOOKED.set_to_current_time()
    return False


def _listed(settings: Settings, folder: Intake) -> Iterator[_Found]:
    root = settings.data_path.resolve()
    place = local_files.find_any(settings, folder.folder)
    for entry in sorted(os.scandir(place), key=lambda each: each.name):
        wanted = is_fits(entry.name) and fnmatch.fnmatch(entry.name, folder.pattern or "*")
        if wanted and entry.is_file(follow_symlinks=False) and _is_text(entry.name):
            yield _Found(str(Path(entry.path).relative_to(root)), fingerprint(entry.stat()))


def _is_text(name: str) -> bool:
    """Whether a database can hold the name: it may be of an encoding that nobody knows."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _compare(gateway: Gateway, folder: Intake, found: Sequence[_Found]) -> None:
    """Write down what is new, and what has been left alone for long enough."""
    with gateway.database.reading() as session:
        rows = session.scalars(
            select(IntakeFile).where(
                IntakeFile.intake_id == folder.id,
                IntakeFile.path.in_([each.path for each in found]),
            )
        ).all()
    known = {(row.path, row.fingerprint): row for row in rows}
    present = {(each.path, each.fingerprint) for each in found}
    new = [each for each in found if (each.path, each.fingerprint) not in known]
    # What was seen of a file that has changed since says nothing any more.
    stale = [
        row.id for key, row in known.items() if row.state == IntakeState.SEEN and key not in present
    ]
    settled = now() - timedelta(seconds=gateway.settings.skyrelay_watch_settle)
    waiting = [
        row
        for key, row in known.items()
        if row.state == IntakeState.SEEN and key in present and row.seen <= settled
    ]
    complete = {row.id: _complete(gateway, row) for row in waiting}
    if not (new or stale or complete):
        return
    with gateway.database.writing() as session:
        session.execute(delete(IntakeFile).where(IntakeFile.id.in_(stale)))
        for each in new:
            session.add(
                IntakeFile(intake_id=folder.id, path=each.path, fingerprint=each.fingerprint)
            )
        for row_id, is_ready in complete.items():
            values = (
                {"state": IntakeState.READY, "reason": ""}
                if is_ready
                else {"seen": now(), "reason": _INCOMPLETE}
            )
            session.execute(
                update(IntakeFile)
                .where(IntakeFile.id == row_id, IntakeFile.state == IntakeState.SEEN)
                .values(**values)
            )


def _complete(gateway: Gateway, row: IntakeFile) -> bool:
    try:
        return is_complete(gateway.settings.data_path / row.path)
    except OSError:
        return False
