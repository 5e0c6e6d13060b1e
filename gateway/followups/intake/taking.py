"""How does a file that is ready become a task?

A file for which there is no room waits, and is tried again now and then. Where its user's quota has
none, that holds for those of a watched folder always, for those of a batch where only other runs
have to end. A file of a watched folder that is gone is back where it was before it was complete: it
may be there again at the next look, with all of a file system that was away. One that cannot be
read waits. Nobody would look for those of a batch again, and they are refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from gateway import local_files
from gateway.accounts.quotas import QuotaExceeded, check_bytes, check_run, check_task
from gateway.audit import entries_of_run, remember
from gateway.core import Gateway
from gateway.followups import observation
from gateway.followups.intake.files import fingerprint
from gateway.lifetime import PresetFileMissing, made, preset_files, start_first
from gateway.models import (
    IS_READY,
    IS_WAITING,
    Group,
    Intake,
    IntakeFile,
    IntakeKind,
    IntakeState,
    Preset,
    Task,
    User,
    now,
)
from skyrelay import logs, task_states
from skyrelay.products import IMAGE
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
#: How long a file waits for room before it is tried again, and how many are at once.
PAUSE = timedelta(minutes=1)
_TRIED_AT_ONCE = 100
_LONGEST_NAME = 250
_FOR_NOW = {IntakeState.SEEN: " for now", IntakeState.WAITING: " for now"}
_DISK_FULL = "There is no room left on the disk."


class _Refused(Exception):
    """The file will never be a task: says why."""


class _Gone(Exception):
    """There is no such file now."""


class _NoRoom(Exception):
    """The user's quota is used up just now: says which."""


def take(gateway: Gateway) -> bool:
    """Make a task of the next file that is ready; whether there was one."""
    ready = (
        select(IntakeFile, Intake)
        .join(Intake, Intake.id == IntakeFile.intake_id)
        .where(IS_READY, Intake.active)
        .order_by(IntakeFile.id)
        .limit(1)
    )
    with gateway.database.reading() as session:
        found = session.execute(ready).first()
    if found is None:
        return False
    file, intake = found
    with logs.about():
        _take_or_refuse(gateway, file, intake)
    return True


def try_again(gateway: Gateway) -> None:
    """Let some of those that wait for room be tried, the one that waits longest first."""
    waiting = (
        select(IntakeFile.id)
        .join(Intake, Intake.id == IntakeFile.intake_id)
        .where(IS_WAITING, IntakeFile.seen <= now() - PAUSE, Intake.active)
        .order_by(IntakeFile.seen, IntakeFile.id)
        .limit(_TRIED_AT_ONCE)
    )
    with gateway.database.reading() as session:
        found = session.scalars(waiting).all()
    if found:
        with gateway.database.writing() as session:
            session.execute(
                update(IntakeFile)
                .where(IntakeFile.id.in_(found), IntakeFile.state == IntakeState.WAITING)
                .values(state=IntakeState.READY)
            )


def _take_or_refuse(gateway: Gateway, file: IntakeFile, intake: Intake) -> None:
    watched = intake.kind == IntakeKind.WATCH
    unreadable = IntakeState.WAITING if watched else IntakeState.REFUSED
    try:
        _take(gateway, intake, file)
    except _Refused as error:
        _settle(gateway, file, IntakeState.REFUSED, str(error))
    except _NoRoom as error:
        _settle(gateway, file, IntakeState.WAITING, str(error))
    except _Gone:
        _settle(gateway, file, IntakeState.SEEN if watched else IntakeState.REFUSED, "It is gone.")
    except PresetFileMissing as error:
        _settle(gateway, file, unreadable, f"The preset cannot be used: {error}")
    except OSError as error:
        if is_full(error):
            _have_all_wait(gateway, _DISK_FULL)
        elif not gateway.store.answers():
            raise
        else:
            _settle(gateway, file, unreadable, f"It cannot be read: {error.strerror}.")


def _take(gateway: Gateway, intake: Intake, file: IntakeFile) -> None:
    with gateway.database.reading() as session:
        preset = session.get(Preset, intake.preset_id) if intake.preset_id else None
    try:
        size = local_files.find(gateway.settings, file.path).stat().st_size
    except FileNotFoundError as error:
        raise _Gone from error
    of_preset = preset_files(gateway, preset)
    with gateway.database.writing() as session:
        # Not only at the end: a file that waits is not copied at every try.
        _owner_with_room(gateway, session, intake, size)
    with ExitStack() as received:
        image = received.enter_context(gateway.store.incoming())
        checksum = _copy(gateway, file, image)
        files = {IMAGE: image}
        for path in of_preset:
            files[path.name] = received.enter_context(gateway.store.incoming())
            local_files.copy(path, files[path.name])
        for content in files.values():
            gateway.store.complete(content)
        with gateway.database.writing() as session:
            _make_task(gateway, session, intake.id, file.id, checksum, files)


def _copy(gateway: Gateway, file: IntakeFile, target: IO[bytes]) -> str:
    """Copy the file; the SHA-256 of its content."""
    try:
        path = local_files.find(gateway.settings, file.path)
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
            changed = file.fingerprint and fingerprint(os.fstat(source.fileno())) != (
                file.fingerprint
            )
    except FileNotFoundError as error:
        raise _Gone from error
    if changed:
        # Somebody writes it anew: as it is then, it is another file, and seen as one.
        raise _Refused("It was changed while it was taken.")
    return digest.hexdigest()


def _make_task(
    gateway: Gateway,
    session: Session,
    intake_id: int,
    file_id: int,
    checksum: str,
    files: Mapping[str, IO[bytes]],
) -> None:
    # Of all that take files of this folder, one at a time decides.
    intake = session.scalar(select(Intake).where(Intake.id == intake_id).with_for_update())
    file = session.get(IntakeFile, file_id)
    if intake is None or file is None or file.state != IntakeState.READY:
        return
    file.checksum = checksum
    twin = session.scalar(
        select(IntakeFile)
        .where(
            IntakeFile.intake_id == intake_id,
            IntakeFile.checksum == checksum,
            IntakeFile.state == IntakeState.TAKEN,
        )
        .limit(1)
    )
    if twin is not None:
        file.state, file.task_id = IntakeState.DUPLICATE, twin.task_id
        file.reason = f"It is the same as {twin.path}."
        observation.FILES.labels(IntakeState.DUPLICATE.value).inc()
        return
    size = sum(os.fstat(content.fileno()).st_size for content in files.values())
    user = _owner_with_room(gateway, session, intake, size)
    preset = session.get(Preset, intake.preset_id) if intake.preset_id else None
    task = Task(
        original_name=Path(file.path).name[-_LONGEST_NAME:],
        title="",
        state=task_states.UPLOADED,
        user=user,
        config=(preset.config if preset else {}) | intake.config,
        groups=list(session.scalars(select(Group).where(Group.name.in_(intake.groups)))),
        reasons=[],
    )
    with made(gateway, session, task, files):
        run = start_first(gateway, session, task, intake.steps, intake.priority)
        file.state, file.task_id, file.reason = IntakeState.TAKEN, task.id, ""
        remember(
            session,
            "task_create",
            user=user,
            task_id=task.id,
            original_name=task.original_name,
            source=intake.kind,
            intake=intake.id,
        )
        for action, details in entries_of_run(run, task.config, task.config) if run else ():
            remember(session, action, user=user, task_id=task.id, **details)
    observation.FILES.labels(IntakeState.TAKEN.value).inc()


def _owner_with_room(gateway: Gateway, session: Session, intake: Intake, size: int) -> User:
    """The user for whom a file of this size is taken."""
    user = session.get(User, intake.user_id)
    if user is None or not user.is_active:
        raise _Refused("The user for whom it was to be taken is not active.")
    try:
        check_task(gateway, session, user)
        check_bytes(gateway, session, user, size)
        if intake.steps:
            check_run(gateway, session, user)
    except QuotaExceeded as error:
        waits = intake.kind == IntakeKind.WATCH or error.kind == "runs"
        raise (_NoRoom if waits else _Refused)(str(error)) from error
    return user


def _settle(gateway: Gateway, file: IntakeFile, state: IntakeState, reason: str) -> None:
    _log.warning("%s becomes no task%s: %s", file.path, _FOR_NOW.get(state, ""), reason)
    if state != IntakeState.SEEN:
        observation.FILES.labels(state.value).inc()
    values: dict[str, Any] = {"state": state, "reason": reason}
    if state in _FOR_NOW:
        values |= {"seen": now()}  # From here on it waits.
    with gateway.database.writing() as session:
        session.execute(
            update(IntakeFile)
            .where(IntakeFile.id == file.id, IntakeFile.state == IntakeState.READY)
            .values(**values)
        )


def _have_all_wait(gateway: Gateway, reason: str) -> None:
    """Let all that are ready wait: to try each would take, again and again, what stages need."""
    with gateway.database.writing() as session:
        waiting = session.scalars(
            update(IntakeFile)
            .where(IS_READY)
            .values(state=IntakeState.WAITING, reason=reason, seen=now())
            .returning(IntakeFile.id)
        ).all()
    _log.warning("%d files become no tasks for now: %s", len(waiting), reason)
    observation.FILES.labels(IntakeState.WAITING.value).inc(len(waiting))
